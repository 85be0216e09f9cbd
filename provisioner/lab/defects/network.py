"""Defects of networks: packets that are lost on the way, addresses that two have, routes, names."""

from __future__ import annotations

from provisioner.lab.defects.defect import UNIT_ENDS, At, Defect, writes

# Two rules, for nft makes one comparison of `tcp sport != 22 tcp dport != 22`, which means "not from 22 to 22".
_SPARE_SSH = ("tcp sport 22 accept", "tcp dport 22 accept")
_IN_TABLE = "bridge $UNIT-$NAME"
_TABLE_ENDS = f'nft "delete table {_IN_TABLE}" 2>/dev/null || true'


def _lost(name: str, says: str, *packets: str, check: str = "reach", at: At = "control-plane",
          place: str = "", alone: str = "", also: tuple[str, ...] = ()) -> Defect:
    """Return packets lost at the node's port of the switch, in both directions: the node itself cannot see why."""
    words = [match if match.endswith("accept") else f"{match} drop" for match in packets]
    rules = [f'add rule {_IN_TABLE} {chain} {side} \\"$LINK\\" {match}' for match in words
             for chain, side in (("enter", "iifname"), ("leave", "oifname"))]
    chains = [f"add chain {_IN_TABLE} {chain} {{ type filter hook {hook}; }}"
              for chain, hook in (("enter", "prerouting priority -310"), ("leave", "postrouting priority 310"))]
    script = "; ".join([f"add table {_IN_TABLE}", *chains, *rules])
    return Defect(name, says, check, f'{_TABLE_ENDS}\nnft "{script}"', undo=_TABLE_ENDS, outside=True, at=at,
                  place=place, alone=alone, also=also)


# A machine of its own on the node's segment: an interface with its own hardware address in a network namespace.
_STRANGER = """systemd-run --quiet --unit="$UNIT" -p PrivateNetwork=yes python3 -c "$STRANGER" "$1" "$2" "$3"
pid=$(systemctl show -p MainPID --value "$UNIT.service")
ip link add lab-other link host0 type macvlan mode bridge
ip link set lab-other netns "$pid"
nsenter -t "$pid" -n ip link set lab-other up
nsenter -t "$pid" -n ip address add "$2/$PREFIX" dev lab-other
"""
_STRANGER_ENDS = f"{UNIT_ENDS}; ip link delete lab-other 2>/dev/null || true"


def _other(name: str, says: str, check: str, arguments: str, alone: str = "") -> Defect:
    return Defect(name, says, check, f"set -- {arguments}\n{_STRANGER}", undo=_STRANGER_ENDS, at="worker",
                  place="other", alone=alone, elsewhere=True)


def _resolver(name: str, says: str, text: str, server: str = "", check: str = "dns",
              also: tuple[str, ...] = ()) -> Defect:
    return Defect(name, says, check, writes("/etc/resolv.conf", text.strip()).replace("<<'END'", "<<END") + server,
                  undo=UNIT_ENDS if server else "", files=("/etc/resolv.conf",), at="node", place="resolv.conf",
                  also=also)


_SERVE = 'systemd-run --quiet --unit="$UNIT" python3 -c "$ANSWER" "$ADDRESS" {seconds} 203.0.113.7\n'
_NFT = "command -v nft > /dev/null || { apt-get -q update && apt-get -qy install nftables; } > /dev/null 2>&1\n"

NETWORK: tuple[Defect, ...] = (
    _lost("etcd-peers-lost", "TCP 2380 is lost on the way to and from the host", "meta l4proto tcp th dport 2380"),
    _lost("etcd-clients-lost", "TCP 2379 is lost on the way to and from the host", "meta l4proto tcp th dport 2379"),
    _lost("api-lost", "TCP 6443 is lost on the way to and from the host", "meta l4proto tcp th dport 6443"),
    _lost("kubelet-lost", "TCP 10250 is lost on the way to and from the host", "meta l4proto tcp th dport 10250",
          at="node"),
    _lost("vxlan-lost", "UDP 8472 is lost on the way to and from the host", "meta l4proto udp th dport 8472",
          at="node", place="mtu"),
    _lost("vrrp-lost", "VRRP (protocol 112) is lost on the way to and from the host", "ip protocol 112"),
    _lost("loss", "a fifth of the packets is lost on the way to and from the host, but SSH's",
          *_SPARE_SSH, "numgen random mod 5 == 0",
          check="latency", at="any", alone="what is lost is chance, and may be what names another",
          also=("reach", "mtu")),
    _lost("small-path", "packets beyond 1400 bytes are lost on the way, silently, but SSH's",
          *_SPARE_SSH, "meta length > 1400", check="mtu",
          at="any", place="mtu"),
    Defect("small-mtu", "the host's own link takes 1400 bytes, the others' 1500", "mtu",
           "ip link set host0 mtu 1400", undo="ip link set host0 mtu 1500", at="node", place="mtu"),
    Defect("input-drop", "a firewall on the host lets in SSH alone (nftables, installed where it is missing)",
           "firewall", _NFT + """nft 'add table inet fw;
add chain inet fw in { type filter hook input priority 0; policy drop; };
add rule inet fw in ct state established,related accept; add rule inet fw in iif lo accept;
add rule inet fw in ip protocol icmp accept; add rule inet fw in tcp dport 22 accept'
""", undo="nft delete table inet fw 2>/dev/null || true", at="control-plane", place="input", also=("reach", "vrrp")),
    Defect("forward-drop", "a firewall on the host drops what it forwards (nftables, installed where it is missing)",
           "firewall", _NFT + "nft 'add table ip fw; add chain ip fw forward "
           "{ type filter hook forward priority 0; policy drop; }'",
           undo="nft delete table ip fw 2>/dev/null || true", at="node"),
    Defect("old-service-rules", "rules of another kube-proxy are left in iptables' nat table", "rules",
           _NFT + "nft 'add table ip nat; add chain ip nat KUBE-SERVICES; "
           "add rule ip nat KUBE-SERVICES ip daddr 10.96.0.1 counter return'",
           undo="nft delete table ip nat 2>/dev/null || true", at="node"),
    Defect("left-chains", "chains of Calico are left in iptables' filter table", "chains",
           _NFT + "nft 'add table ip filter; add chain ip filter cali-FORWARD'",
           undo="nft delete table ip filter 2>/dev/null || true"),
    Defect("no-default-route", "the host has no default route", "route", "ip route del default", at="node",
           undo='ip route replace default via "$GATEWAY" dev host0'),
    Defect("route-in-pods", "a route of the host leads a part of the Pods' range elsewhere", "ranges",
           'ip route replace 10.244.128.0/20 via "$GATEWAY"', undo="ip route del 10.244.128.0/20 2>/dev/null || true"),
    Defect("route-in-services", "a route of the host leads a part of the Services' range elsewhere", "ranges",
           'ip route replace 10.96.16.0/20 via "$GATEWAY"', undo="ip route del 10.96.16.0/20 2>/dev/null || true"),
    _other("vip-taken", "another machine has the VIP", "vip", '0 "$VIP" "$VIP"'),
    _other("address-twice", "another machine has the host's neighbour's address too", "twin",
           '0 "$PEER_ADDRESS" "$PEER_ADDRESS"', alone="nobody knows which of the two machines answers"),
    _other("vrrp-stranger", "another machine advertises our VRRP id", "vrrp", '"$VRID" "${ADDRESS%.*}.250" "$VIP"'),
    Defect("vip-on-worker", "a host that is no load balancer carries the VIP", "vip",
           'ip address add "$VIP/32" dev host0', undo='ip address del "$VIP/32" dev host0 2>/dev/null || true',
           at="worker", place="vip"),
    _resolver("resolver-loop", "/etc/resolv.conf names the host's own loopback", "nameserver 127.0.0.1"),
    _resolver("resolver-silent", "the DNS server in /etc/resolv.conf answers nothing", "nameserver 192.0.2.53"),
    _resolver("resolver-slow", "the DNS server in /etc/resolv.conf takes 1.5 s for an answer", "nameserver $ADDRESS",
              _SERVE.format(seconds=1.5)),
    _resolver("resolver-lies", "the DNS server in /etc/resolv.conf says that every name is 203.0.113.7",
              "nameserver $ADDRESS", _SERVE.format(seconds=0)),
    Defect("localhost-astray", "/etc/hosts leads localhost to an address elsewhere", "hosts-file",
           'printf "192.0.2.98 localhost\\n%s %s\\n" "$ADDRESS" "$NAME" > /etc/hosts',
           files=("/etc/hosts",), place="hosts"),
    Defect("hosts-peer-wrong", "/etc/hosts has another address for a host of the cluster", "hosts-file",
           'printf "192.0.2.99 %s\\n" "$PEER" >> /etc/hosts', files=("/etc/hosts",), place="hosts"),
    Defect("hosts-no-localhost", "/etc/hosts does not know localhost", "hosts-file",
           'printf "%s %s\\n" "$ADDRESS" "$NAME" > /etc/hosts', files=("/etc/hosts",), place="hosts"),
    _resolver("resolver-many", "/etc/resolv.conf names more DNS servers than a Pod may have", "\n".join(
        f"nameserver 192.0.2.{number}" for number in (53, 54, 55, 56)), check="nameservers", also=("dns",)),
    Defect("local-ports", "outgoing connections are given ports of ours", "local-ports",
           "sysctl -qw net.ipv4.ip_local_port_range='1024 60999'",
           undo="sysctl -qw net.ipv4.ip_local_port_range='32768 60999' net.ipv4.ip_local_reserved_ports=''",
           files=("/etc/sysctl.d/90-local-ports.conf",)),      # where its cure writes
)
