"""Members of etcd that move to other hosts while the cluster serves: in which order, from values alone.

What comes votes before anything goes: API servers that have a member beside them speak to that one only, and are told
of the new ones in between.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from provisioner.compile.etcd import UNIT
from provisioner.decide.membership import Act, Membership, followed
from provisioner.model.cluster import Cluster, HostSpec
from provisioner.model.desired import EtcdMember, Unit
from provisioner.model.observed import HostObserved

MEMBER = (Unit.kind, UNIT)


def former(cluster: Cluster, observed: Mapping[str, HostObserved]) -> dict[str, HostSpec]:
    """Return the hosts of the inventory that still have a member of ours, and are no etcd hosts any more."""
    wanted = {host.name for host in cluster.etcd_hosts}
    return {name: spec for name, spec in cluster.hosts.items() if name not in wanted and name in observed
            and any((owned.kind, owned.path) == MEMBER for owned in observed[name].owned)}


def course(seen: Membership, wanted: Sequence[EtcdMember], going: Sequence[EtcdMember], leaving: Collection[int] = (),
           ) -> tuple[list[Act], str]:
    """Return all acts by which the members become `wanted`, and why the first that may not is refused ("": none is).

    Those in `leaving` go at once, since their hosts do; those in `going` vote until all that come do.
    """
    still = [member for member in going if seen.is_voter(member)]
    first, refused, then = followed(seen, [*wanted, *still], leaving)
    if refused or not still:
        return first, refused
    ids = [known.id for member in still if (known := then.known(member)) is not None]
    last, refused, _ = followed(then, wanted, ids)
    return [*first, *last], refused


def order(hosts: Collection[str], leader: str) -> list[str]:
    """Return in which order members are taken out: the one that leads last, so that leadership moves once."""
    return sorted(hosts, key=lambda host: (host == leader, host))
