"""The way of an upgrade: hops, their stages, the steps of each in order. Decided from values, before anything acts.

    way = plan(state, target, leader="cp2")         state: skew.seen(skew.laid_out(...), ...), target: skew.pinned(...)
    way.refused                                     why not, each by its rule; then there are no hops
    for hop in way.hops:                            in order; each leaves every component at one version, hop.versions
        artifacts = lock_of(hop, final=..., applied=..., known=...)     what the hop is compiled from
        for stage in hop.stages:                    named by its phase; a node's is runtime, node and network together
            for step in stage.steps:                one host after the other; nodes may go several at a time
                step.moves, step.drained
        hop.soaks                                   stop here until a person says go on; plan() then begins with that

A re-run plans anew from what runs then: there is nothing to resume from. `back` is the same, the other way round.
Never is a state passed that `skew.faults` names, however far a step has come; that is a property in the tests.

What of it one pass over the phases makes, and where a run stops by itself, is decided in decide/legs.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from provisioner.compile.versions import KUBERNETES_BINARIES, NODE_BINARIES, Version
from provisioner.decide.skew import (
    ADDONS,
    AS_OLD,
    CONTROLLERS,
    ETCD,
    ETCD_BEFORE,
    KUBECTL,
    KUBELET,
    NODE_PARTS,
    PLANNED,
    SERVER,
    Fault,
    Place,
    Runs,
    State,
    downgrades,
    faults,
    move_faults,
    of,
    pinned,
)
from provisioner.errors import RefusedForSafety
from provisioner.model.artifact import ArtifactLock, LockedArtifact
from provisioner.model.releases import MINORS, Minor

StageName = Literal["etcd", "control-plane", "controllers", "node", "addons"]
Versions = Mapping[str, Version]

# What moves together on one host, in the order in which hosts and cluster take it; on the way back the other way round.
STAGES: Mapping[StageName, tuple[str, ...]] = {
    "etcd": (ETCD,),
    "control-plane": (SERVER, KUBECTL),
    "controllers": CONTROLLERS,         # only now is no API server old that they could reach through a balancer
    "node": NODE_PARTS,
    "addons": ADDONS,
}
_CANNOT_RETURN = ("once its last member has moved, etcd does not go back: it reads no data that a later minor has "
                  "written")


@dataclass(frozen=True)
class Move:
    """One component of a host that takes another version."""

    place: Place
    before: Runs
    after: Runs


@dataclass(frozen=True)
class Step:
    """What one host takes at once, in this order; `drained` where its Pods have to be elsewhere before."""

    host: str
    moves: tuple[Move, ...]
    drained: bool = False


@dataclass(frozen=True)
class Stage:
    """The steps of one stage, one after the other, each proved before the next; nodes may go several at a time."""

    name: StageName
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Hop:
    """One part of the way, after which every component that it moves has one version, and a run may end.

    It is compiled for `kubernetes` and `nodes`, from `lock_of` it. `emulates` is the minor (`1.36`) that its control
    planes go on behaving as. `final` says what cannot go back after it; empty where all can.
    """

    versions: Versions
    stages: tuple[Stage, ...]
    emulates: str = ""
    final: str = ""

    @property
    def kubernetes(self) -> str:
        return str(self.versions[SERVER])

    @property
    def nodes(self) -> str:
        """Return the version of kubelets and kube-proxies after it."""
        return str(self.versions.get(KUBELET, self.versions[SERVER]))

    @property
    def soaks(self) -> bool:
        """Say whether the cluster is left on trial after it: new programs that behave as the old ones."""
        return bool(self.emulates)

    @property
    def drains(self) -> tuple[str, ...]:
        """Return the nodes that are drained, in their order."""
        return tuple(step.host for stage in self.stages for step in stage.steps if step.drained)

    def __str__(self) -> str:
        """Say what moves, by component: `kube-apiserver 1.36.3 → 1.37.2, ...`."""
        words: dict[str, str] = {}
        for move in moves_of([self]):
            words.setdefault(move.place.component, f"{move.place.component} {move.before} → {move.after}")
        return ", ".join(words[name] for name in PLANNED if name in words)


@dataclass(frozen=True)
class Way:
    """All hops in order, or why there is no way."""

    hops: tuple[Hop, ...] = ()
    refused: tuple[Fault, ...] = ()


def plan(
    state: State, target: Versions, *, leader: str = "", soak: bool = False, minors: Mapping[str, Minor] = MINORS,
) -> Way:
    """Return the way from what runs to `target` (component -> version); `leader` is the host of etcd's, which is last.

    With `soak` a minor of Kubernetes is tried first: see `Hop.soaks`. `minors` says through which release of a minor in
    between it goes (its newest), and what goes with each.
    """
    refused = list(_missing(state, target)) or [
        *downgrades(state, target), *faults(state, minors), *faults(_at(state, target), minors)]
    if refused:
        return Way(refused=tuple(dict.fromkeys(refused)))
    hops: list[Hop] = []
    while state != _at(state, target):
        goal = _next(state, target, soak, minors)
        if isinstance(goal, Fault):
            return Way(refused=(goal,))
        hop = Hop(goal.versions, _stages(state, goal.state, leader), goal.emulates,
                  _CANNOT_RETURN if _minors(goal.state) != _minors(state) else "")
        broken = [fault for _, found in instants(state, hop, minors) for fault in found]
        if broken:
            return Way(refused=tuple(dict.fromkeys(broken)))
        if not hop.stages:
            raise LookupError(f"no step leads on from {hop.kubernetes} to {target[SERVER]}")    # and never would
        hops.append(hop)
        state = goal.state
    return Way(tuple(hops))


def back(
    state: State, before: Versions, *, leader: str = "", minors: Mapping[str, Minor] = MINORS,
) -> Way:
    """Return the way back to what ran `before`, in one hop, or by which rule some component may not return any more."""
    goal = {place: Runs(before.get(place.component, runs.version)) for place, runs in state.items()}
    stages = tuple(reversed(_stages(state, goal, leader)))
    if not stages:
        return Way()
    hop = Hop({**newest_of(state), **before}, stages)
    broken = [fault for _, found in instants(state, hop, minors) for fault in found]
    return Way(refused=tuple(dict.fromkeys(broken))) if broken else Way((hop,))


def instants(state: State, hop: Hop, minors: Mapping[str, Minor] = MINORS) -> Iterator[tuple[State, list[Fault]]]:
    """Yield every state that a hop passes, one move at a time, with what breaks a rule in it or on the way to it."""
    now = dict(state)
    for stage in hop.stages:
        for step in stage.steps:
            for move in step.moves:
                wrong = move_faults(move.place, move.before, move.after, now, drained=step.drained)
                now[move.place] = move.after
                yield dict(now), [*wrong, *faults(now, minors)]


def moves_of(hops: Iterable[Hop]) -> Iterator[Move]:
    """Yield all moves of these hops in their order."""
    return (move for hop in hops for stage in hop.stages for step in stage.steps for move in step.moves)


def lock_of(hop: Hop, *, final: ArtifactLock, applied: ArtifactLock, known: Iterable[LockedArtifact]) -> ArtifactLock:
    """Return the artifacts.lock that a hop is compiled from: each file of `final` at the version that the hop gives it.

    Its bytes are those of where the cluster goes, of what it runs (`applied`), or of a digest that is `known`. What is
    not planned by itself comes with the last hop. RefusedForSafety where a digest is not known.
    """
    arrived = all(version == hop.versions.get(name, version) for name, version in pinned(final).items())
    everything = [*final.artifacts, *applied.artifacts, *known]
    found, missing = [], []
    for artifact in final.artifacts:
        name = artifact.name if artifact.name in KUBERNETES_BINARIES else artifact.component
        wanted = str(hop.versions[name]) if name in hop.versions else ""
        places = everything if wanted else [*(() if arrived else applied.artifacts), artifact]
        match = next((a for a in places if (a.name, a.arch) == (artifact.name, artifact.arch)
                      and wanted in ("", a.version)), None)
        if match is None:
            missing.append(f"{artifact.name} {wanted} for {artifact.arch}")
        else:
            found.append(match)
    if missing:
        raise RefusedForSafety(f"this machine: plan the way by Kubernetes {hop.kubernetes}: digests are not known",
                               code="digest-unknown", details=missing, hint="kubewright artifacts build --write-lock")
    return ArtifactLock(tuple(found))


@dataclass(frozen=True)
class _Goal:
    """What is so after a hop."""

    state: State
    versions: Versions
    emulates: str = ""


def _missing(state: State, target: Versions) -> Iterator[Fault]:
    for name in dict.fromkeys(place.component for place in state):
        if name not in target:
            yield Fault("component-missing", f"{name} runs, and no version of it is asked for")


def _at(state: State, versions: Versions, emulates: str = "") -> State:
    """Return the state in which every component has its one version; control planes emulate a given minor."""
    return {place: Runs(versions[place.component], emulates if place.component in AS_OLD else "") for place in state}


def newest_of(state: State) -> dict[str, Version]:
    """Return component -> the newest version that runs of it."""
    return {name: max(runs.version for runs in of(state, name)) for name in {place.component for place in state}}


def _minors(state: State) -> set[tuple[int, ...]]:
    """Return the minors of etcd's members."""
    return {runs.version[:2] for runs in of(state, ETCD)}


def _next(state: State, target: Versions, soak: bool, minors: Mapping[str, Minor]) -> _Goal | Fault:
    """Return what is so after the next hop, or why there is none."""
    now = newest_of(state)
    kubernetes = _next_kubernetes(state, target, minors)
    if isinstance(kubernetes, Fault):
        return kubernetes
    etcd = _next_etcd(state, target, kubernetes, minors)
    if isinstance(etcd, Fault):
        return etcd
    if etcd is not None:                # a hop of its own, and before: it is what cannot go back
        moved = {place: Runs(etcd) if place.component == ETCD else runs for place, runs in state.items()}
        return _Goal(moved, {**now, ETCD: etcd})
    oldest = _oldest(state)
    programs = {name: min(kubernetes, target[name]) for name in (SERVER, KUBECTL, *CONTROLLERS) if name in now}
    if soak and kubernetes.minor != oldest.minor and _may_try(state, kubernetes):
        emulates = f"{oldest.major}.{oldest.minor}"
        return _Goal(_at(state, {**now, **programs}, emulates), {**now, **programs}, emulates)
    if kubernetes == target[SERVER]:
        versions = {name: target[name] for name in now}
        if ETCD in now and now[ETCD][:2] != target[ETCD][:2]:
            versions[ETCD] = now[ETCD]      # not while a hop of Kubernetes is under way: after it
        return _Goal(_at(state, versions), versions)
    versions = {**now, **programs}
    if _too_old(state, kubernetes.minor + 1):
        versions |= {name: min(kubernetes, target[name]) if name in NODE_BINARIES else target[name]
                     for name in NODE_PARTS if name in now}
    return _Goal(_at(state, versions), versions)


def _oldest(state: State) -> Version:
    return min(runs.acts_as for runs in of(state, SERVER))


def _may_try(state: State, kubernetes: Version) -> bool:
    """Say whether control planes can still get this version on trial: not all have it, and none acts as the new yet."""
    programs = [place for place in state if place.component in AS_OLD]
    return any(state[place].version != kubernetes for place in programs) and \
        all(state[place].acts_as.minor < kubernetes.minor for place in programs)


def _too_old(state: State, minor: int) -> bool:
    """Say whether a node is too old for API servers of this minor."""
    return any(runs.version.minor < minor - 3 for runs in of(state, *NODE_BINARIES))


def _under_way(state: State) -> bool:
    """Say whether API servers are of two minors, or behave as another than they are."""
    return _oldest(state).minor < max(runs.version for runs in of(state, SERVER)).minor


def _next_kubernetes(state: State, target: Versions, minors: Mapping[str, Minor]) -> Version | Fault:
    """Return the version of control planes after the next hop: what is under way is ended first."""
    newest, goal = max(runs.version for runs in of(state, SERVER)), target[SERVER]
    if newest.minor == goal.minor:
        return goal
    behind = any(runs.acts_as.minor < newest.minor for runs in of(state, *CONTROLLERS))
    if _under_way(state) or behind or _too_old(state, newest.minor + 1):
        return newest
    if newest.minor + 1 == goal.minor:
        return goal
    name = f"{newest.major}.{newest.minor + 1}"
    if name not in minors:
        return Fault("release-missing", f"from {newest} to {goal} the way is through {name}, of which there is none")
    return max(Version.parse(release) for release in minors[name].releases)


def _next_etcd(
    state: State, target: Versions, kubernetes: Version, minors: Mapping[str, Minor],
) -> Version | Fault | None:
    """Return the version of etcd that needs a hop of its own before Kubernetes goes to this one; None for no hop.

    A minor moves as late as it may: for the last hop, or where the next Kubernetes is not run with what there is.
    """
    members = sorted(runs.version for runs in of(state, ETCD))
    if not members:
        return None
    oldest, newest = members[0], members[-1]
    if oldest[:2] != newest[:2]:
        return target[ETCD] if target[ETCD][:2] == newest[:2] else newest
    wish = target[ETCD]
    row = minors.get(f"{kubernetes.major}.{kubernetes.minor}")
    if kubernetes != target[SERVER] and row is not None:
        fits = f"{newest.major}.{newest.minor}" in row.floors.get(ETCD, {})
        wish = newest if fits else Version.parse(row.beside[ETCD])
    if wish[:2] <= newest[:2] or _under_way(state) or not _is_run_with(state, wish, minors):
        return None                     # what API servers are not run with waits until they have moved
    following = (newest.major, newest.minor + 1)
    if oldest < ETCD_BEFORE.get(following, oldest):
        return _best_etcd(newest[:2], minors) or Fault(
            "etcd-patch-first", f"etcd {oldest} is older than {ETCD_BEFORE[following]}")
    if wish[:2] == following:
        return wish
    return _best_etcd(following, minors) or Fault(
        "release-missing", f"from etcd {newest} to {wish} the way is through {following[0]}.{following[1]}")


def _is_run_with(state: State, etcd: Version, minors: Mapping[str, Minor]) -> bool:
    """Say whether today's API servers are run with this minor of etcd, as far as anything is known of them."""
    rows = [minors.get(f"{runs.version.major}.{runs.version.minor}") for runs in of(state, SERVER)]
    return all(f"{etcd.major}.{etcd.minor}" in row.floors.get(ETCD, {}) for row in rows if row)


def _best_etcd(line: tuple[int, ...], minors: Mapping[str, Minor]) -> Version | None:
    """Return the newest etcd of a minor that goes with some Kubernetes."""
    found = (Version.parse(row.beside[ETCD]) for row in minors.values() if ETCD in row.beside)
    return max((version for version in found if version[:2] == line), default=None)


def _stages(state: State, goal: State, leader: str) -> tuple[Stage, ...]:
    """Return what takes one state to the other, in the order in which a cluster may be taken there."""
    made = []
    for name, components in STAGES.items():
        steps = [_step(host, components, state, goal) for host in _hosts(state, components, leader)]
        if any(step.moves for step in steps):
            made.append(Stage(name, tuple(step for step in steps if step.moves)))
    return tuple(made)


def _hosts(state: State, components: Sequence[str], leader: str) -> list[str]:
    """Return the hosts of these components in the order of the state; the leader of etcd is its last."""
    hosts = list(dict.fromkeys(place.host for place in state if place.component in components))
    return sorted(hosts, key=lambda host: host == leader) if ETCD in components else hosts


def _step(host: str, components: Sequence[str], state: State, goal: State) -> Step:
    places = [Place(name, host) for name in components if Place(name, host) in state]
    moves = tuple(Move(place, state[place], goal[place]) for place in places if state[place] != goal[place])
    return Step(host, moves, any(move.place.component == KUBELET and move.before.version[:2] != move.after.version[:2]
                                 for move in moves))
