"""Which changes of an inventory a live cluster may be given: a row a path, judged before any host is contacted.

`judge` compares what was last applied with what is asked for now. The first row that matches a changed path decides;
a path that no row matches is our bug, and a test walks the inventory's schema to find one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from provisioner.compile.versions import Version
from provisioner.model.cluster import Cluster, Role
from provisioner.model.plan import ALLOWED, NEEDS_FLAG, NOTED, REFUSED, REMOVED_APIS, Verdict
from provisioner.model.validate_hosts import MOST_ETCD_MEMBERS

Path = tuple[str, ...]


@dataclass(frozen=True)
class Change:
    """One path of the inventory with its value before and after (None: not there), within the two whole clusters."""

    path: Path
    before: Any
    after: Any
    old: Cluster
    new: Cluster


def _always(change: Change) -> bool:
    return True


@dataclass(frozen=True)
class Rule:
    """One row: what `up` does about a change of `paths` (`*` matches within one part), and why.

    `by` names the verb that may do it where `up` may not; the row does not hold for that verb, and in a host that stays
    only where the verb names it.
    """

    code: str
    paths: tuple[str, ...]
    outcome: str
    sentence: str = ""
    when: Callable[[Change], bool] = _always
    by: str = ""


def _minor(change: Change) -> int:
    return Version.parse(change.after).minor - Version.parse(change.before).minor


def _goes_back(change: Change) -> bool:
    return Version.parse(change.after) < Version.parse(change.before)


def _is_member(cluster: Cluster, host: str) -> bool:
    """Say whether the host is an etcd member or a control plane: those that the others count on by name."""
    return host in cluster.hosts and any(h.name == host for h in (*cluster.etcd_hosts, *cluster.control_planes))


def _gone(change: Change) -> bool:
    return change.after is None


def _member_gone(change: Change) -> bool:
    return change.after is None and _is_member(change.old, change.path[1])


def _moved_member(change: Change) -> bool:
    return _is_member(change.old, change.path[1])


def _role_gone(change: Change) -> bool:
    """Say whether a role leaves that runs something: `worker` on a control plane is a taint and nothing else."""
    gone = set(change.before) - set(change.after)
    if Role.CONTROL_PLANE in set(change.before) & set(change.after):
        gone -= {Role.WORKER}
    return bool(gone)


def _control_plane_role_gone(change: Change) -> bool:
    return Role.CONTROL_PLANE in set(change.before) - set(change.after)


def _etcd_role_gone(change: Change) -> bool:
    return Role.ETCD in set(change.before) - set(change.after)


def _too_many_meanwhile(change: Change) -> bool:
    """Say whether there would be too many members while those that come vote beside those that go."""
    both = {h.name for cluster in (change.old, change.new) for h in cluster.etcd_hosts}
    return _etcd_role_gone(change) and len(both) > MOST_ETCD_MEMBERS


def _balancer_gone(change: Change) -> bool:
    """Say whether a host that may hold the VIP leaves the inventory."""
    return change.after is None and change.path[1] in _balancers(change.old)


def _balancers_replaced(change: Change) -> bool:
    """Say whether a host stops to be a load balancer, and none of those that are to be one is one today."""
    old, new = _balancers(change.old), _balancers(change.new)
    return bool(new) and not old & new and change.path[1] in old


def _balancers(cluster: Cluster) -> set[str]:
    return {h.name for h in cluster.vip_holders}


def _another(change: Change) -> bool:
    """Say whether there was a value before, whoever uses it."""
    return not is_nothing(change.before)


def _issuers(value: Any, cluster: Cluster) -> list[str]:
    if value is None:
        return [f"https://{cluster.kubernetes_service_name}"]
    return [str(v) for v in value] if isinstance(value, list) else str(value).split(",")


def _issuer_dropped(change: Change) -> bool:
    return not set(_issuers(change.before, change.old)) <= set(_issuers(change.after, change.new))


def _unlike(**defaults: Any) -> Callable[[Change], bool]:
    """Return what tells whether a field has another value; `defaults` are those of fields that are not given."""
    def differs(change: Change) -> bool:
        default = defaults.get(change.path[-1].replace("-", "_"))
        before, after = (default if value is None else value for value in (change.before, change.after))
        return str(before) != str(after)
    return differs


def _config(*paths: str) -> tuple[str, ...]:
    """Return fields of `config:`, the cluster's and a host's own."""
    return tuple(f"{place}.{path}" for place in ("config", "hosts.*.config") for path in paths)


TABLE: tuple[Rule, ...] = (
    Rule("cluster-renamed", ("cluster",), REFUSED,
         "the name is in the cluster's CAs and in etcd's token; a cluster is never renamed"),
    Rule("pod-range-changed", ("network.pods",), REFUSED,
         "every node has its share of the old range and every Pod an address of it; a new range needs a new cluster"),
    Rule("service-range-changed", ("network.services",), REFUSED,
         "every Service keeps its old address, and the one of `kubernetes` is in certificates and in every Pod; "
         "a new range needs a new cluster"),
    Rule("domain-changed", ("network.domain",), REFUSED,
         "every running Pod looks for Services below the old name, and its token is of an issuer with that name; "
         "a new name needs a new cluster"),
    Rule("network-plugin-changed", ("network.plugin",), REFUSED,
         "every running Pod is connected by the old plugin and would be cut off"),
    Rule("range-flag-changed", _config(
        "kube-apiserver.flags.service-cluster-ip-range", "kube-controller-manager.flags.cluster-cidr",
        "kube-controller-manager.flags.service-cluster-ip-range",
        "kube-controller-manager.flags.node-cidr-mask-size*", "kube-controller-manager.flags.allocate-node-cidrs",
        "kube-proxy.clusterCIDR", "kube-proxy.flags.cluster-cidr"), REFUSED,
         "the ranges of Pods and Services are given out already"),
    Rule("pod-network-changed", _config("flannel.Network", "flannel.Subnet*", "flannel.EnableIPv*", "flannel.Backend*",
                                        "flannel.Backend.*", "flannel.IPv6*"), NEEDS_FLAG,
         "hosts change one after the other, and until the last one has, Pods on those that have changed and Pods on "
         "those that have not do not reach each other",
         when=_unlike(Type="vxlan", VNI=1, Port=8472, DirectRouting=False)),
    Rule("proxy-mode-changed", _config("kube-proxy.mode", "kube-proxy.flags.proxy-mode"), NEEDS_FLAG,
         "on each host Services do not answer from the end of the old rules to the first of the new ones",
         when=_unlike(mode="nftables", proxy_mode="nftables")),
    Rule("node-port-range-changed", _config("kube-apiserver.flags.service-node-port-range"), NEEDS_FLAG,
         "Services keep ports outside of the new range; while API servers differ, one refuses what another gives out",
         when=_unlike(service_node_port_range="30000-32767")),
    Rule("etcd-timing-changed", _config("etcd.flags.heartbeat-interval", "etcd.flags.election-timeout"), NEEDS_FLAG,
         "members change one after the other, and as long as they differ those that wait less call elections",
         when=_unlike(heartbeat_interval=100, election_timeout=1000)),
    Rule("vip-changed", ("api.vip",), NEEDS_FLAG,
         "kubeconfigs and programs outside use the old address and stop working; nodes use their own HAProxy and do "
         "not notice; the API servers get new certificates and restart one at a time", when=_another),
    Rule("api-port-changed", ("api.port",), NEEDS_FLAG,
         "kubeconfigs and programs outside use the old port and stop working; nodes do not notice"),
    Rule("api-external-changed", ("api.external",), NEEDS_FLAG,
         "kubeconfigs and programs outside use the old name and stop working; the API servers get new certificates",
         when=_another),
    Rule("virtual-router-changed", ("api.virtual_router_id",), NEEDS_FLAG,
         "while the load balancers change one after the other, two of them may hold the VIP at once"),
    Rule("minor-skipped", ("kubernetes",), REFUSED,
         "a cluster goes from one minor to the next, never over one: `upgrade` goes by way of each, `up` does not",
         when=lambda c: _minor(c) > 1, by="upgrade"),
    Rule("minor-changed", ("kubernetes",), REFUSED,
         "a kubelet may change its minor only on a drained node, and etcd's data is kept before: `upgrade` does that, "
         "`up` does not", when=lambda c: _minor(c) == 1, by="upgrade"),
    Rule("minor-downgraded", ("kubernetes",), REFUSED,
         "Kubernetes reads no data that a later minor has written", when=lambda c: _minor(c) < 0),
    Rule("patch-downgraded", ("kubernetes",), NEEDS_FLAG, "an older patch brings back the faults it was left for",
         when=_goes_back),
    Rule("patch-changed", ("kubernetes",), REFUSED,
         "etcd's data is kept and one worker goes before the others where a version changes: `upgrade` does that, "
         "`up` does not", by="upgrade"),
    Rule("etcd-data-moved", _config("etcd.flags.data-dir", "etcd.flags.wal-dir"), REFUSED,
         "the member would start with an empty directory, and its data would stay behind"),
    Rule("etcd-member-renamed", _config("etcd.flags.name", "etcd.flags.initial-*"), REFUSED,
         "a member's name and first membership are read once in its life and say who it is"),
    Rule("storage-prefix-changed", _config("kube-apiserver.flags.etcd-prefix"), REFUSED,
         "the API server would find an empty cluster there"),
    Rule("encryption-config-moved", _config("kube-apiserver.flags.encryption-provider-config"), REFUSED,
         "Secrets in etcd are encrypted with the keys of the old file and could not be read"),
    Rule("issuer-dropped", _config("kube-apiserver.flags.service-account-issuer"), NEEDS_FLAG,
         "tokens of the old issuer are refused at once, in every running Pod, until each is renewed; give both, the "
         "new one first, and drop the old one a day later", when=_issuer_dropped),
    Rule("audience-dropped", _config("kube-apiserver.flags.api-audiences"), NEEDS_FLAG,
         "tokens for the old audience are refused at once, in every running Pod, until each is renewed",
         when=_issuer_dropped),
    Rule("token-key-moved", _config(
        "kube-apiserver.flags.service-account-key-file", "kube-apiserver.flags.service-account-signing-key-file",
        "kube-controller-manager.flags.service-account-private-key-file"),
         NEEDS_FLAG, "tokens that the old key has signed are refused at once, in every running Pod"),
    Rule("resource-manager-changed", _config("kubelet.cpuManagerPolicy", "kubelet.memoryManagerPolicy",
                                             "kubelet.reservedSystemCPUs"), NEEDS_FLAG,
         "a kubelet ends again and again until its state of the old policy is removed (cpu_manager_state and "
         "memory_manager_state in /var/lib/kubelet), which its Pods should not see: drain the node first",
         when=_unlike(cpuManagerPolicy="none", memoryManagerPolicy="None")),
    Rule("member-left", ("hosts.*",), REFUSED,
         "it is an etcd member or a control plane; it stays a member until it is removed from there",
         when=_member_gone, by="node remove"),
    Rule("balancers-replaced", ("hosts.*", "hosts.*.roles"), REFUSED,
         "every load balancer of today would give up the VIP, and none that knows it would be left to take it: let the "
         "new ones have the role beside the old ones, `kubewright up`, and take it from the old ones then",
         when=_balancers_replaced),
    Rule("balancer-left", ("hosts.*",), REFUSED,
         "its keepalived would go on beside the others, which would forget it, and two hosts would hold the VIP",
         when=_balancer_gone, by="node remove"),
    Rule("host-left", ("hosts.*",), NOTED, "it is not in the inventory any more; `up` leaves it as it is",
         when=_gone, by="node remove"),
    Rule("member-role-removed", ("hosts.*.roles",), REFUSED,
         "a control plane is taken out as a whole: take the host out of the file, `kubewright node remove` it, and put "
         "it back with its new roles", when=_control_plane_role_gone, by="node remove"),
    Rule("members-too-many", ("hosts.*.roles",), REFUSED,
         f"the new members vote before the old ones leave, which would be more than {MOST_ETCD_MEMBERS} at once, and "
         "each write waits for a majority of them: move fewer at a time", when=_too_many_meanwhile),
    Rule("etcd-moves", ("hosts.*.roles",), NEEDS_FLAG,
         "its etcd member is taken out, and its data there deleted, once those that come vote and no API server counts "
         "on it; API servers restart one at a time", when=_etcd_role_gone, by="node remove"),
    Rule("role-removed", ("hosts.*.roles",), NEEDS_FLAG,
         "what the role runs there is stopped and taken away; Pods of a worker end undrained", when=_role_gone,
         by="node remove"),
    Rule("member-moved", ("hosts.*.address",), REFUSED,
         "the other members and every certificate know it by its address, which is not changed where it stands: "
         "everything of ours goes from it (kubewright reset), and it comes anew",
         when=_moved_member, by="node replace"),
    Rule("host-moved", ("hosts.*.address",), NEEDS_FLAG,
         "the address must be the same machine's: a machine that is new to the cluster needs a name of its own",
         by="node replace"),
    Rule("firewall-closed", ("firewall",), NEEDS_FLAG,
         "what was opened is closed on all hosts at once: where their firewalls do not let in by themselves what "
         "docs/reference/ports.md names, etcd loses its majority", when=lambda c: c.before == "ours"),
    Rule("", ("kubernetes", "network.hosts", "api.vip", "api.external", "api.extra_sans", "config", "config.*",
              "registries", "registries.*", "proxy", "proxy.*", "time.*", "trust", "firewall", "hosts.*",
              "hosts.*.system", "hosts.*.roles", "hosts.*.address", "hosts.*.labels*", "hosts.*.taints",
              "hosts.*.config*"),
         ALLOWED),
)
# No rule about the inventory: to restart what serves although the cluster is unhealthy (orchestrate/run/may_begin.py).
CLUSTER_ILL = "cluster-unhealthy"
FLAGS = frozenset({CLUSTER_ILL, REMOVED_APIS, *(rule.code for rule in TABLE if rule.outcome == NEEDS_FLAG)})
_DEEP = ("config.*", "registries.*", "hosts.*.config*", "hosts.*.labels*")      # with what is at any depth below


def judge(old: Cluster, new: Cluster, verb: str = "up", named: Collection[str] = ()) -> tuple[Verdict, ...]:
    """Return what there is to say about every changed path for `verb`, which was given the hosts `named`.

    Changes that are simply allowed say nothing.
    """
    verdicts = []
    for path, before, after in differing(document(old), document(new)):
        change = Change(path, before, after, old, new)
        rule = find(change, verb, named)
        if rule.outcome != ALLOWED:
            verdicts.append(Verdict(".".join(path), rule.code, rule.outcome, rule.sentence, short(before, path),
                                    short(after, path)))
    return tuple(verdicts)


def find(change: Change, verb: str = "up", named: Collection[str] = ()) -> Rule:
    """Return the first row that matches; LookupError is a hole in the table."""
    name = ".".join(part.replace(".", "_") for part in change.path)
    for rule in TABLE:
        if rule.by == verb and _is_for(change.path, named):
            continue
        if any(_matches(name, p) for p in rule.paths) and rule.when(change):
            return rule
    raise LookupError(f"no rule for {name}")


def _is_for(path: Path, named: Collection[str]) -> bool:
    """Say whether a verb that names hosts is about a path: of a host that stays, only where it is named.

    Hosts that left as a whole are counted by the verb itself.
    """
    return path[0] != "hosts" or len(path) == 2 or path[1] in named


def _matches(name: str, pattern: str) -> bool:
    parts, wanted = name.split("."), pattern.split(".")
    if pattern.startswith(_DEEP) and len(parts) > len(wanted):
        parts = parts[:len(wanted)]
    return len(parts) == len(wanted) and all(fnmatchcase(p, w) for p, w in zip(parts, wanted, strict=True))


def document(cluster: Cluster) -> dict[str, Any]:
    """Return the inventory as far as it is applied, with the roles that hosts have in effect."""
    values = cluster.model_dump(mode="json", exclude={
        "version", "ssh", "operators", "lab", "gates", "artifacts", "hosts"})
    etcd, balancers = {h.name for h in cluster.etcd_hosts}, _balancers(cluster)
    hosts = {}
    for host in cluster.machines:
        roles = set(host.roles) | ({Role.ETCD} if host.name in etcd else set())
        roles |= {Role.LOAD_BALANCER} if host.name in balancers else set()
        hosts[host.name] = host.spec.model_dump(mode="json", exclude={"ssh"}) | {"roles": sorted(roles)}
    return values | {"hosts": hosts}


def differing(old: Any, new: Any, path: Path = ()) -> Iterator[tuple[Path, Any, Any]]:
    """Yield path, value before and after of what differs between two documents; a host that came or left is one."""
    whole_host = len(path) == 2 and path[0] == "hosts" and None in (old, new)
    if isinstance(old, Mapping | None) and isinstance(new, Mapping | None) and (old or new) and not whole_host:
        left, right = old or {}, new or {}
        for key in [*left, *(k for k in right if k not in left)]:
            yield from differing(left.get(key), right.get(key), (*path, str(key)))
    elif old != new and not (is_nothing(old) and is_nothing(new)):
        yield path, old, new


def is_nothing(value: Any) -> bool:
    """Say whether a value is as good as none: no list, text or mapping; `false` and 0 say something."""
    return value is None or value in ("", [], {})


def short(value: Any, path: Path) -> str:
    """Return a value of the inventory as a verdict says it."""
    if isinstance(value, list):
        return ", ".join(str(v) for v in value) or "none"
    if isinstance(value, Mapping):
        return "in the inventory"
    return "not there" if value is None else str(value)
