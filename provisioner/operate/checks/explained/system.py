"""Explanations: room, what the system does at boot, and what its files tell programs."""

from __future__ import annotations

from provisioner.operate.checks import leftovers, machine, places, surroundings
from provisioner.operate.checks.explained.entry import Explained

TEXTS: dict[str, Explained] = {
    "disk": Explained(
        f"statvfs of {' and '.join(machine.DIRECTORIES)}, or of their nearest parents.",
        "Artifacts have to fit before anything is changed, and a host that is new needs room for what will grow.",
        "on HOST: df -h /opt/kubewright /var/lib",
        f"What artifacts.lock has and the host lacks; {machine.MARGIN_MIB} MiB more on a new host; a warning below "
        f"{machine.ROOMY_MIB} MiB more."),
    "room": Explained(
        "statvfs of the directories that grow: those of the kubelet, containerd and etcd, /var/log, /tmp.",
        "Below the kubelet's own limits it ends Pods and takes no new ones, from its first minute on.",
        "on HOST: du -xhd1 DIRECTORY | sort -h",
        f"{places.NODE_PERCENT} % for the kubelet and {places.IMAGE_PERCENT} % for images are the kubelet's "
        f"evictionHard "
        f"(pkg/kubelet/eviction/defaults_linux.go); etcd's quota for its directory on a new host; {places.LOG_MIB} MiB "
        f"for logs, {places.TEMPORARY_MIB} MiB in /tmp."),
    "inodes": Explained(
        "statvfs of the same directories; file systems that make inodes as they need them are left out.",
        "A file system without inodes is full, whatever room df shows.",
        "on HOST: du -x --inodes -d2 DIRECTORY | sort -n | tail",
        f"{places.INODE_PERCENT} % where Pods live is the kubelet's limit; {places.INODES} anywhere."),
    "mounted": Explained(
        "The flags of statvfs of the same directories.",
        "A disk with faults is mounted read-only by the kernel; from one that is noexec, programs in Pods' volumes do "
        "not run.", "on HOST: mount -o remount,rw PLACE (after a look at dmesg), or remount,exec and in /etc/fstab"),
    "swap": Explained(
        "/proc/swaps; /etc/fstab, swap units and the files of zram's makers for what brings it back.",
        "Limits of memory mean nothing to a Pod that is swapped out.",
        "on HOST: swapoff -a, and the line or unit that the finding names", up="turns it off, now and after a boot"),
    "directories": Explained(
        "readlink of each directory that is ours.", "Who can write where a link leads would lead us away.",
        "on HOST: make a directory of it and bind-mount what the link led to"),
    "sysctl": Explained(
        "All files of sysctl.d in the order in which they are read at boot.",
        "A file that is read after ours wins at the next boot; the kubelet does not start where some settings differ.",
        "on HOST: take the line out of the file that the finding names"),
    "local-ports": Explained(
        "/proc/sys/net/ipv4/ip_local_port_range and ip_local_reserved_ports.",
        "The kernel may give a port of ours to an outgoing connection, and the unit does not start until it ends.",
        "on HOST: sysctl -w net.ipv4.ip_local_reserved_ports=PORTS, and in /etc/sysctl.d"),
    "packages": Explained(
        "dpkg's or rpm's list; for what is missing the lists of apt or dnf as they are, a simulated installation, and "
        "a connection to each site.",
        "A source that is down is better known before than in the middle; and nothing of others is ever removed.",
        "on HOST: apt-get update && apt-get install -y PACKAGES, or dnf install -y PACKAGES"),
    "mirror": Explained(
        "A HEAD by the host itself for a file that it lacks, below the address of `artifacts: {from: URL}`, with the "
        "proxy and the trust that the inventory names; 5 s.",
        "A host that cannot fetch for itself gets all from this machine, which takes as long as its uplink does.",
        "on HOST: curl -sSI URL"),
    "dpkg": Explained(
        "Who holds a lock of dpkg or apt (fcntl F_GETLK, which takes none), and the states in /var/lib/dpkg/status; of "
        "dnf the process in its lock's file, and what rpm's list has twice.",
        "An upgrade that runs by itself holds up a run; one that was ended leaves packages half installed, with dnf in "
        "two versions.",
        "on HOST: dpkg --configure -a && apt-get -f install -y, or dnf remove --duplicates",
        up="waits for the lock, and ends what dpkg was left with before it installs anything"),
    "locale": Explained(
        "LANG and LC_ALL of /etc/environment and /etc/default/locale, tried by setlocale(3).",
        "Perl, and so apt and debconf, complain with each command; the words are lost in that.",
        "on HOST: printf 'LANG=C.UTF-8\\n' > /etc/default/locale"),
    "proxy": Explained(
        "/etc/environment, and DefaultEnvironment of systemd's system.conf.",
        "kubectl and curl of people there ask the proxy for the cluster's own addresses. Our units unset the "
        "variables.",
        "on HOST: add the ranges of the hosts and of Services to no_proxy in the file that the finding names"),
    "hosts-file": Explained(
        "/etc/hosts, against the names and addresses of cluster.yaml.",
        "It goes before DNS: an old line leads to a machine that is another's today.",
        "on HOST: the sed of the finding, or take the line out"),
    "route": Explained(
        "`ip -json route show`.", "A Service's address needs some route before the rules that translate it are asked: "
        "programs of the host, and Pods in its network, reach no Service without.",
        "on HOST: ip route add default via ROUTER, and where the network is set up"),
    "ranges": Explained(
        "Routes and addresses of each host against network.pods and network.services.",
        "A route that is more exact wins: an office network of the Pods' range is not reached any more, or Pods are "
        "not. A wider route loses to ours, and is a warning.",
        "Choose other ranges in cluster.yaml before the first `up`; later they cannot be changed."),
    "resolver": Explained(
        "/etc/resolv.conf; where it names a stub of systemd-resolved, the file with the servers behind it.",
        "127.0.0.53 is the Pod itself inside a Pod. Where only some nodes know a server, CoreDNS starts on those only.",
        "in cluster.yaml: config: {coredns: {upstreams: [ADDRESS]}}, [] for none"),
    "nameservers": Explained(
        "The same file: how many servers and search domains.",
        "A Pod is given fewer of them than the host has, in silence.", "on HOST: leave fewer of them in the file",
        f"{surroundings.SERVERS} servers, {surroundings.DOMAINS} domains of {surroundings.CHARACTERS} characters: "
        "kubernetes, pkg/apis/core/validation."),
    "cni": Explained(
        "The directory where containerd will look, of which we own no file; only with network.plugin: none.",
        "The first file by its name decides for every Pod, also one that an earlier cluster left.",
        "on HOST: mv FILE /root/"),
    "netdevs": Explained(
        "/proc/net/dev of a host that we never prepared, against the names that others give their devices.",
        "They keep routes, ports and addresses that ours need; no reset of kubeadm removes them.",
        "on HOST: ip link delete DEVICE",
        f"Known: {', '.join(sorted({row[0] for row in leftovers.DEVICES.values()}))}."),
    "chains": Explained(
        "`nft -j list chains` of a host that we never prepared, against the names that others give their chains.",
        "They stay in the way of Pods' packets; a reset of kubeadm leaves them.",
        "on HOST: iptables-save | grep -v 'PREFIX' | iptables-restore, and ip6tables for IPv6",
        f"Known: {', '.join(leftovers.CHAINS.values())}."),
    "mounts": Explained(
        f"/proc/self/mountinfo of a host that we never prepared, below {', '.join(leftovers.PODS)}.",
        "Volumes of Pods that are gone: who removes the directory removes their data.",
        "on HOST: umount them, the innermost first"),
}
