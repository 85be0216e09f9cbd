"""Whether the cluster that is there is the inventory's, host by host: what a restore leaves out would run on beside it.

The change rules ask this of `up`; a restore changes nothing that they know, and founds a cluster of the inventory's
members all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from provisioner.errors import RefusedForSafety
from provisioner.model.cluster import Cluster
from provisioner.model.desired import Artifact, Desired
from provisioner.orchestrate.gates import etcd_members
from provisioner.orchestrate.plan import applied
from provisioner.orchestrate.session.session import Session

DIFFER = "members-differ"
PROGRAM = "etcdutl"


def refuse_others(session: Session, desired: Desired, allowed: Sequence[str]) -> None:
    """Raise RefusedForSafety where members or control planes are others than those that were applied or answer.

    And where a host has not the program that makes its member: it would be found missing when all is stopped.
    """
    told = [*_not_as_applied(session), *_not_as_listed(session, desired)]
    if told and DIFFER not in allowed:
        raise RefusedForSafety(
            f"{session.target.inventory.file.name}: {told[0] if len(told) == 1 else f'{len(told)} hosts differ'}; a "
            "restore founds a cluster of the inventory's members alone", code=DIFFER,
            details=[*(told if len(told) > 1 else ()),
                     "what is left out and runs, or wakes up, serves the data of before behind the same addresses",
                     "nothing was changed", f"where it is off for good: {session.run.go_on} --allow {DIFFER}"],
            hint="kubewright plan")
    lacking = [h.name for h in session.cluster.etcd_hosts if not _has_program(session, desired, h.name)]
    if lacking:
        raise RefusedForSafety(
            f"{', '.join(lacking)}: {PROGRAM} of the inventory's lock is not there, and makes the members",
            code="no-etcdutl", details=["nothing was changed"], hint="kubewright up")


def _not_as_applied(session: Session) -> Iterator[str]:
    """Say what was applied otherwise; nothing where it is not known."""
    then = next(iter(applied.on_hosts(session)), None) or applied.here(session.target.inventory)
    if then is None:
        return
    was, now = _counted_on(then.cluster), _counted_on(session.cluster)
    for name in sorted(was.keys() | now.keys()):
        if was.get(name) != now.get(name):
            yield f"{name} is {_words(now.get(name))}, and was applied as {_words(was.get(name))}"


def _counted_on(cluster: Cluster) -> dict[str, tuple[str, str]]:
    """Return the hosts of members and API servers, each with its address and which of both it is."""
    members, planes = ({h.name: h.address for h in hosts} for hosts in (cluster.etcd_hosts, cluster.control_planes))
    roles = {name: " and ".join(role for role, hosts in (("etcd", members), ("control plane", planes)) if name in hosts)
             for name in members | planes}
    return {name: (address, roles[name]) for name, address in (members | planes).items()}


def _words(one: tuple[str, str] | None) -> str:
    return f"{one[1]} at {one[0]}" if one else "nothing"


def _not_as_listed(session: Session, desired: Desired) -> Iterator[str]:
    """Say which voter the members that answer know, and the inventory does not."""
    answers = etcd_members.answering(session, [m.name for m in desired.members]).values()
    ours = {m.name: m.peer_url for m in desired.members}
    listed = {m.name: m.peer_urls for a in answers for m in a.members if m.name and not m.is_learner}
    for name, urls in sorted(listed.items()):
        if ours.get(name) not in urls:
            yield f"the members count on {name} at {', '.join(urls)}, and it is {ours.get(name, 'no member')} there"


def _has_program(session: Session, desired: Desired, host: str) -> bool:
    wanted = next(i for i in desired.hosts[host].items if isinstance(i, Artifact) and i.name == PROGRAM)
    return session.observed[host].state(wanted.kind, wanted.path) == wanted.want()
