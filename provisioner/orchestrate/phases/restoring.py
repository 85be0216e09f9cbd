"""Put etcd's data back on every member: what writes is stopped, each member is made from the snapshot, all start.

Until each host has made its member beside the data of before, that is not touched, and a fault lets it serve again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from provisioner.compile import networks
from provisioner.compile.etcd import DATA_DIR, UNIT
from provisioner.errors import GateFailed, KubewrightError
from provisioner.model.desired import Artifact, Item, Program, Tree, Unit
from provisioner.model.etcd import EtcdStatus
from provisioner.model.observed import ABSENT
from provisioner.model.phases import PhaseName
from provisioner.model.plan import Change
from provisioner.model.snapshot import Restore
from provisioner.operate import etcd, recovery, snapshots
from provisioner.orchestrate.gates import etcd_members, proofs
from provisioner.orchestrate.phases import control_plane
from provisioner.orchestrate.phases.verify import cluster_is_healthy
from provisioner.orchestrate.session.phase import Phase, counted
from provisioner.orchestrate.session.session import Session
from provisioner.orchestrate.turn.apply import Changes, apply_batch

MEMBER = f"{DATA_DIR}/member"
MADE = f"{DATA_DIR}/restored"       # where etcdutl writes; what a killed run left there is removed first
WRITERS = ("kube-apiserver.service", "kube-controller-manager.service", "kube-scheduler.service")
WATCHERS: tuple[tuple[PhaseName, tuple[str, ...]], ...] = (
    ("node", ("kubelet.service", "kube-proxy.service")),
    ("network", tuple(network.unit for network in networks.TABLE.values() if network.unit)))
SECONDS = 600                       # for etcdutl to write a data directory anew


def the_restore(session: Session) -> Restore:
    """Return what this run restores; asking in another run is our bug."""
    if session.target.restore is None:
        raise KubewrightError("a phase of a restore ran in another run")
    return session.target.restore


def aside(session: Session) -> str:
    """Return where the data of before stays."""
    return f"{MEMBER}.before-{session.run.id}"


def snapshot_on_host(restore: Restore) -> Artifact:
    """Return the snapshot as a file in etcd's own directory, which only etcd and root may enter.

    Always the same file: what a killed run left of another snapshot is replaced.
    """
    return Artifact(path=f"{DATA_DIR}/restore.db", phase="etcd", sha256=restore.sha256,
                    size=restore.db.stat().st_size, name="snapshot", version="", mode=0o644)


def stage(session: Session) -> str:
    """Bring the snapshot to every member's host, into a directory that is made where somebody took it away."""
    hosts, item = _members(session), snapshot_on_host(the_restore(session))
    missing = {h: [_change(h, "etcd", made, "add", "is not there", ABSENT, str(made.want()))] for h in hosts
               if session.observed[h].state("directory", DATA_DIR) == ABSENT
               for made in (session.the_plan.desired.hosts[h].find("directory", DATA_DIR),) if made is not None}
    if missing:
        apply_batch(session, "stage.0", missing)
    session.hosts.each(lambda one: one.store([(item, the_restore(session).db)], epoch=session.run.epoch), hosts)
    return f"{counted(len(hosts), 'host')}, {item.size / 1e6:.1f} MB each"


def put_back(session: Session) -> str:
    """Make each member beside its data while all serves; stop what writes, then the members; then each takes its place.

    Until the first data is moved, whatever fails lets all serve again as before.
    """
    planes, members = [h.name for h in session.cluster.control_planes], _members(session)
    session.run.safe_point()
    try:
        session.run.works_on("making the members from the snapshot")
        _make(session, members)
        session.run.works_on("stopping what writes to etcd")
        # Without etcd an API server has nothing to end in order, and would try to for two minutes.
        serves = any(seen.leader_id for seen in etcd_members.answering(session, members).values())
        apply_batch(session, "etcd.writers", _units(session, planes, WRITERS, "stop", at_once=not serves))
        apply_batch(session, "etcd.members", _units(session, members, (UNIT,), "stop"))
    except KubewrightError as fault:
        _as_before(session, planes, members, fault)
        raise
    seen = _trees(session, members)
    snapshots.note_reached(session.target.inventory.snapshots_dir, the_restore(session).reached)
    swaps = {h: [*_move(h, MEMBER, aside(session), seen), *_move(h, f"{MADE}/member", MEMBER, seen)] for h in members}
    apply_batch(session, "etcd.swapped", swaps)
    apply_batch(session, "etcd.started", _units(session, members, (UNIT,), "start"))
    return f"{counted(len(members), 'member')}, the data of before is at {aside(session)}"


def _make(session: Session, members: Sequence[str]) -> None:
    """Let each host make its member in a directory of its own; what an earlier run left of one goes first."""
    restore, before = the_restore(session), _trees(session, members)
    batch = {}
    for host in members:
        batch[host] = [*_without_made(host, before), _etcdutl(session, host, restore)]
    apply_batch(session, "etcd.made", batch)
    for host, trees in _trees(session, members).items():
        if trees[f"{MADE}/member"] == ABSENT:
            raise GateFailed(f"{host}: making its member from the snapshot: nothing is at {MADE}/member")


def _etcdutl(session: Session, host: str, restore: Restore) -> Change:
    """Return the run of etcd's own restore: the same snapshot, token and bump on every host, its own name on each."""
    program = next(i for i in session.the_plan.desired.hosts[host].items
                   if isinstance(i, Artifact) and i.name == "etcdutl")
    members = session.the_plan.desired.members
    me = next(m for m in members if m.name == host)
    argv = ("snapshot", "restore", snapshot_on_host(restore).path, f"--name={host}", f"--data-dir={MADE}",
            f"--initial-cluster={','.join(f'{m.name}={m.peer_url}' for m in members)}",
            f"--initial-cluster-token={restore.token}", f"--initial-advertise-peer-urls={me.peer_url}",
            f"--bump-revision={restore.bump}", "--mark-compacted", *([] if restore.hashed else ["--skip-hash-check"]))
    item = Program(path=program.path, phase="etcd", argv=argv, seconds=SECONDS, owner="etcd", group="etcd")
    return _change(host, "etcd", item, "run", "the member is made from the snapshot",
                   session.observed[host].state("artifact", program.path), "exit 0")


def _as_before(session: Session, planes: Sequence[str], members: Sequence[str], fault: KubewrightError) -> None:
    """Let what was stopped serve again with the data that it had, without what was made beside it.

    A host that cannot do one of it holds up no other; what did not come back is told with the fault.
    """
    told: list[str] = []
    back: tuple[Callable[[], None], ...] = (
        lambda: apply_batch(session, "etcd.as-before", _units(session, members, (UNIT,), "start")),
        lambda: apply_batch(session, "etcd.writers-again", _units(session, planes, WRITERS, "start")),
        lambda: _clear(session, "etcd.made-gone"))
    for act in back:
        try:
            act()
        except KubewrightError as second:
            told.append(second.message)
    serves = "the data of before was not touched" + ("" if told else ", and serves again")
    fault.details = (*fault.details, serves, *dict.fromkeys(told))


def members_hold(session: Session) -> None:
    """Prove one cluster of all members, each with the snapshot's keys and the same hash; then remove the snapshot."""
    etcd_members.etcd_is_one_cluster(session)
    proofs.wait_until(session, "etcd", lambda: _differ(session), proof="every member holds the snapshot's keys")
    _clear(session, "etcd.cleared")
    if the_restore(session).survivor is not None:
        recovery.note_held(session.target.inventory.snapshots_dir)


def _clear(session: Session, step: str) -> None:
    """Remove the snapshot and what a member was made in from every member's host."""
    item, seen = snapshot_on_host(the_restore(session)), _trees(session, _members(session))
    apply_batch(session, step, {h: [
        _change(h, "etcd", item, "remove", "it is not needed any more", item.want(), ABSENT), *_without_made(h, seen)]
        for h in _members(session)})


def _differ(session: Session) -> str:
    """Say which member has other keys than the snapshot, before anybody writes to them."""
    keys, hashes = the_restore(session).keys, {}
    for host in _members(session):
        access = session.access.etcd(host)
        there = etcd.count(access)
        if there != keys:
            return f"{host} has {there} keys, the snapshot {keys}"
        hashes[host] = etcd.hash_of(access, 0)
    return "" if len(set(hashes.values())) == 1 else f"the members' data differs: {hashes}"


def start_servers(session: Session) -> str:
    """Start every API server."""
    hosts = [h.name for h in session.cluster.control_planes]
    apply_batch(session, "control-plane.0", _units(session, hosts, WRITERS[:1], "start"))
    return counted(len(hosts), "host")


def start_controllers(session: Session) -> str:
    """Start what works on the objects, now that they are there."""
    hosts = [h.name for h in session.cluster.control_planes]
    apply_batch(session, "controllers.0", _units(session, hosts, WRITERS[1:], "start"))
    return counted(len(hosts), "host")


def watch_again(session: Session, name: PhaseName, units: Sequence[str]) -> str:
    """Restart what keeps objects in mind that it watched; Pods go on meanwhile."""
    batch = _units(session, list(session.observed), units, "restart")
    if batch:
        apply_batch(session, f"{name}.0", batch)
    return counted(len(batch), "host") if batch else ""


def _watching(name: PhaseName, units: tuple[str, ...]) -> Phase:
    return Phase(name, f"{', '.join(unit.removesuffix('.service') for unit in units)} watch anew",
                 lambda session: watch_again(session, name, units), lambda session: proofs.phase_holds(session, name))


PHASES: tuple[Phase, ...] = (
    Phase("stage", "the snapshot, streamed to every member's host", stage),
    Phase("etcd", "all that writes is stopped, then every member is made from the snapshot", put_back, members_hold),
    Phase("control-plane", "every API server starts", start_servers, control_plane.gate),
    Phase("controllers", "kube-controller-manager and kube-scheduler start", start_controllers,
          lambda session: proofs.phase_holds(session, "controllers")),
    *(_watching(name, units) for name, units in WATCHERS),
    Phase("verify", "every unit, the VIP, DNS and every node", gate=cluster_is_healthy),
)

# Where every member holds the snapshot already.
AFTER = PHASES[2:]


def _members(session: Session) -> list[str]:
    return [h.name for h in session.cluster.etcd_hosts]


def _units(session: Session, hosts: Iterable[str], names: Sequence[str], action: str, *, at_once: bool = False,
           ) -> dict[str, list[Change]]:
    """Return what happens to units of hosts, where a host has them; a restart is of the very process that runs now."""
    found: dict[str, list[Change]] = {}
    for host in hosts:
        for name in names:
            unit = session.the_plan.desired.hosts[host].find("unit", name)
            if isinstance(unit, Unit) and session.state_of(host, name) != ABSENT:
                now = str(session.observed[host].extra("unit", name).get("invocation_id", ""))
                what = Unit(path=name, phase=unit.phase, listed=True, at_once=at_once)
                found.setdefault(host, []).append(Change(
                    host, unit.phase, unit.kind, name, action, "etcd's data is restored", "", "", what,
                    invocation=now if action == "restart" else ""))
    return found


def _trees(session: Session, hosts: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return which directories stand where, by their paths, on each host."""
    items: tuple[Item, ...] = tuple(Tree(path=p, phase="etcd") for p in (MEMBER, MADE, f"{MADE}/member"))
    seen = session.hosts.observe({host: items for host in hosts})
    return {host: {i.path: one.state(Tree.kind, i.path) for i in items} for host, one in seen.items()}


def _without_made(host: str, seen: dict[str, dict[str, str]]) -> Iterator[Change]:
    """Yield the removal of the directory in which a member was made, where it is there."""
    state = seen[host][MADE]
    if state != ABSENT:
        yield _change(host, "etcd", Tree(path=MADE, phase="etcd"), "remove", "it was made there", state, ABSENT)


def _move(host: str, path: str, to: str, seen: dict[str, dict[str, str]]) -> Iterator[Change]:
    state = seen[host][path]
    if state != ABSENT:
        yield _change(host, "etcd", Tree(path=path, phase="etcd", to=to), "move", f"to {to}", state, ABSENT)


def _change(host: str, phase: PhaseName, item: Item, action: str, reason: str, expect: str, want: str) -> Change:
    return Change(host, phase, item.kind, item.path, action, reason, expect, want,
                  None if action == "remove" else item)


def stops(session: Session, *, holds: bool = False) -> Changes:
    """Return what is stopped and started again, for the plan that is shown before; `holds`: the members go on."""
    planes = _units(session, [h.name for h in session.cluster.control_planes], WRITERS, "restart")
    members = {} if holds else _units(session, _members(session), (UNIT,), "restart")
    watchers = _units(session, list(session.observed), [u for _, units in WATCHERS for u in units], "restart")
    return {h: [c for of in (members, planes, watchers) for c in of.get(h, ())] for h in session.observed}


def answers(session: Session) -> tuple[str, EtcdStatus] | None:
    """Return the member that is furthest of those that answer, to be compared with; None where none does."""
    seen = etcd_members.answering(session, _members(session))
    return max(seen.items(), key=lambda one: (one[1].applied, one[0])) if seen else None
