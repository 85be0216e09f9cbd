"""Explanations: who else is on the host or its segment, and what hosts find out by trying."""

from __future__ import annotations

from provisioner.operate.checks import occupied, pairs, tried_alone
from provisioner.operate.checks.explained.entry import Explained

_OTHERS = ", ".join(dict.fromkeys(whose for whose, _ in occupied.EVIDENCE.values()))

TEXTS: dict[str, Explained] = {
    "firewall": Explained(
        "`nft -j list chains`, and the tables of those of others that see what comes in or is forwarded; iptables "
        "where "
        "there is no nft.", "Every chain has its say: what one drops, no rule of ours lets through.",
        "on HOST: the nft or iptables line of the finding, and in the files that it is loaded from"),
    "rules": Explained(
        "iptables' chain KUBE-SERVICES in the tables nat and filter.",
        "Rules of another kube-proxy see packets for Services before ours do, and send them to what is gone.",
        "on HOST: iptables -t nat -F KUBE-SERVICES"),
    "vip": Explained(
        "ARP probes for the VIP from each load balancer, as RFC 5227 has them: without an address of our own.",
        "Two machines with one address: the API comes and goes.", "in cluster.yaml: api.vip, an address that is free"),
    "ports": Explained(
        "/proc/net/tcp and tcp6, and /proc/PID/fd for whose socket it is.",
        "A unit of ours cannot start where another program listens.",
        "on HOST: systemctl disable --now UNIT, or kill PID"),
    "services": Explained(
        "Units of our names below /usr/lib/systemd/system, and the programs of other container runtimes.",
        "Ours take the place of a package's service; what else runs containers stays, and is better known about.",
        "on HOST: dpkg -S FILE, and remove that package if nobody needs it"),
    "files": Explained(
        "Each file that a run would write, against what we ever wrote and what dpkg remembers of its packages.",
        "A file that somebody wrote is somebody's; it is not overwritten.", "on HOST: mv FILE FILE.before"),
    "cluster": Explained(
        "The record of our own clusters, and what others leave: " + _OTHERS + ".",
        "Two clusters on one machine end with neither.", "Take another machine, or remove the other with its own "
        "tool."),
    "reach": Explained(
        "Each host listens for a moment where its roles will, and those that will connect try to.",
        "It goes through whatever firewall there is, which reading its rules cannot prove.",
        "Open the port between the two hosts, in whatever is between them."),
    "majority": Explained(
        "The same trials, as a graph of etcd's members.",
        "etcd needs a majority that sees each other; members that do not are told with the largest group that does.",
        "Mend the ways that `reach` names."),
    "latency": Explained(
        "The kernel's own times of the same connections, and how many needed a second packet.",
        "etcd's elections and every write wait for the network.", "on HOST: ping -c 100 -i 0.2 OTHER",
        f"{pairs.MEMBER_MS:.0f} ms and nothing lost between etcd's members, {pairs.HOST_MS:.0f} ms else: OpenShift's "
        "assisted installer."),
    "mtu": Explained(
        "UDP packets that may not be cut, as large as the Pod network's with its head.",
        "Larger packets of Pods vanish while small ones pass: connections open and then hang.",
        "Give the interfaces one MTU, or in cluster.yaml the Pod network a smaller one."),
    "vrrp": Explained(
        "Each load balancer hears VRRP on its segment for a moment.",
        "Another pair of routers with our id takes our VIP for its own.", "Give the other one another virtual "
        "router id."),
    "twin": Explained(
        "ARP probes for the host's own address.", "A copy of a machine answers for it: logins go to the one or the "
        "other.",
        "Turn off the copy, or give it an address of its own."),
    "dns": Explained(
        "The host's own DNS servers are asked for a random name below .invalid, and for one in each search domain.",
        "Slow servers slow every Pod; one that answers for names that nobody has leads Pods astray.",
        "on HOST: name other servers in its resolver's file"),
    "fsync": Explained(
        "A file in etcd's directory is written and synced as etcd's log is, for a few seconds, and removed.",
        "Every write of the cluster waits for this disk.", "Give /var/lib/etcd a quicker disk of its own.",
        f"Of a hundred writes the slowest: {tried_alone.P99_WARN:.0f} ms is told, {tried_alone.P99_ERROR:.0f} ms is "
        f"refused; of {tried_alone.MANY} writes or fewer, which one hiccup spoils, only where the middle one takes as "
        "long. In a lab, whose nodes share this computer's disk, it is told only."),
}
