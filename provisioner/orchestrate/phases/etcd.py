"""Start etcd members: all together the very first time, one at a time ever after."""

from __future__ import annotations

from collections.abc import Sequence

from provisioner.compile.etcd import BOOTSTRAP_ENV
from provisioner.errors import RefusedForSafety
from provisioner.model.desired import File
from provisioner.model.observed import ABSENT
from provisioner.model.plan import Change
from provisioner.orchestrate import gates
from provisioner.orchestrate.phases import converge
from provisioner.orchestrate.session import Session
from provisioner.orchestrate.survey import BOOTSTRAPPED, lost_members

NEW = "ETCD_INITIAL_CLUSTER_STATE=new\n"


def start_members(session: Session) -> str:
    """Apply etcd's changes; only where the cluster never was up do members start as parts of a new one."""
    changes = session.the_plan.of("etcd")
    if session.the_plan.bootstrap:
        hosts = [h.name for h in session.cluster.etcd_hosts]
        changes = {h: (_bootstrap_change(session, h), *changes.get(h, ())) for h in hosts}
    else:
        _refuse_lost(session)
    return converge.apply_changes(session, "etcd", changes, _members_are_back, gates.other_members_serve)


def _members_are_back(session: Session, hosts: Sequence[str]) -> None:
    """Prove a batch: a member whose turn has not come yet still runs with the inputs it had."""
    gates.phase_holds(session, "etcd", hosts)
    gates.etcd_is_one_cluster(session)


def gate(session: Session) -> None:
    """Prove that the members are one healthy cluster; then let no member ever say `new` again."""
    gates.phase_holds(session, "etcd")
    gates.etcd_is_one_cluster(session)
    untold = [h.name for h in session.cluster.etcd_hosts if _is_untold(session, h.name)]
    if untold:
        converge.apply_batch(session, "etcd.bootstrapped", {h: _remember(session, h) for h in untold})


def _is_untold(session: Session, host: str) -> bool:
    """Say whether this host may still say `new`: in a first run, or after one killed while it told the hosts."""
    observed = session.observed[host]
    return (session.the_plan.bootstrap or observed.state("file", BOOTSTRAPPED) == ABSENT
            or observed.state("file", BOOTSTRAP_ENV) != ABSENT)


def _bootstrap_change(session: Session, host: str) -> Change:
    """Return the file that says `new`: in /run, and removed once the gate has passed."""
    return _file_change(session, host, BOOTSTRAP_ENV, NEW, "first start of the cluster")


def _remember(session: Session, host: str) -> Sequence[Change]:
    present = File(path=BOOTSTRAP_ENV, phase="etcd", content=NEW).want()
    forget = Change(host=host, phase="etcd", kind="file", path=BOOTSTRAP_ENV, action="remove",
                    reason="the cluster is up", expect=present, want=ABSENT)
    marker = f"{session.cluster.cluster}\n"
    return (_file_change(session, host, BOOTSTRAPPED, marker, "the cluster is up"), forget)


def _file_change(session: Session, host: str, path: str, content: str, reason: str) -> Change:
    item = File(path=path, phase="etcd", content=content)
    state = session.observed[host].state("file", path)
    return Change(host=host, phase="etcd", kind="file", path=path, action="add" if state == ABSENT else "change",
                  reason=reason, expect=state, want=item.want(), item=item)


def _refuse_lost(session: Session) -> None:
    """Refuse to start a member whose data is gone: it would have to join, not to start."""
    lost = lost_members(session, [h.name for h in session.cluster.etcd_hosts])
    if lost:
        raise RefusedForSafety(
            f"{', '.join(lost)}: starting etcd: the cluster exists, but this member has no data",
            details=["the other members keep serving", "starting it as if it were new could found a second cluster",
                     "a host new to the inventory, or a replaced one, has to join: this version cannot do that yet"],
            code="etcd-member-lost", hint="kubewright status")
