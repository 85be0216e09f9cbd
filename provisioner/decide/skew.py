"""Which versions may stand beside which, and which may follow which: rules with names and sources, over what runs.

A state is legal when `faults` of it is empty; a move is when `move_faults` is. The planner of upgrades never makes a
state or a move that is not, and its tests ask these same functions of every instant of every plan.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from provisioner.compile.parts import UNIT_DIR
from provisioner.compile.versions import KUBERNETES_BINARIES, Version, floor_fault, skew_faults
from provisioner.model.artifact import ArtifactLock, Stored
from provisioner.model.cluster import Cluster
from provisioner.model.components import TABLE
from provisioner.model.desired import File
from provisioner.model.observed import HostObserved
from provisioner.model.plan import Change
from provisioner.model.releases import MINORS, Minor

_POLICY = "https://kubernetes.io/releases/version-skew-policy/"
_ETCD_36 = "https://etcd.io/docs/v3.6/upgrades/upgrade_3_6/"
_ETCD_37 = "https://etcd.io/docs/v3.7/upgrades/upgrade_3_7/"
_ETCD_BACK = "https://etcd.io/docs/v3.6/downgrades/"
_OURS = "provisioner/model/releases.py"

SERVER, KUBELET, PROXY, KUBECTL, ETCD, RUNTIME = (
    "kube-apiserver", "kubelet", "kube-proxy", "kubectl", "etcd", "containerd")
CONTROLLERS = ("kube-controller-manager", "kube-scheduler")
AS_OLD = (SERVER, *CONTROLLERS)     # what can behave as an older minor than its own
NODE_PARTS = (RUNTIME, KUBELET, PROXY, "flannel")
ADDONS = ("coredns", "metrics-server")
PLANNED = (ETCD, SERVER, KUBECTL, *CONTROLLERS, *NODE_PARTS, *ADDONS)
"""The components whose versions are planned, in the order in which they move."""
_EMULATES = re.compile(r"--emulated-version=kube=(\d+\.\d+)")
_COMPONENT_OF = {"flanneld": "flannel"}     # where a program has another name than its component
# The oldest patch of the minor before that may stand beside a member of this one.
ETCD_BEFORE: Mapping[tuple[int, int], Version] = {(3, 6): Version(3, 5, 32), (3, 7): Version(3, 6, 11)}


@dataclass(frozen=True)
class Rule:
    """One rule: what it says, and who says so."""

    says: str
    source: str


RULES: Mapping[str, Rule] = {
    # Of a state.
    "apiserver-skew": Rule("API servers of one cluster are within one minor", _POLICY),
    "controller-skew": Rule("a controller is never newer than an API server it can reach, and at most one minor older",
                            _POLICY),
    "kubelet-skew": Rule("a kubelet is never newer than an API server, and at most three minors older", _POLICY),
    "proxy-skew": Rule("a kube-proxy is never newer than an API server, and at most three minors older", _POLICY),
    "kubelet-proxy-skew": Rule("a kube-proxy is within three minors of the kubelet beside it", _POLICY),
    "kubectl-skew": Rule("kubectl is within one minor of every API server", _POLICY),
    "etcd-skew": Rule("members of one etcd are within one minor", _ETCD_36),
    "etcd-patch-first": Rule("before a member takes the next minor, all others have a patch that bears it: 3.5.32 for "
                             "3.6, 3.6.11 for 3.7", _ETCD_37),
    "etcd-unsupported": Rule("an API server has the etcd that its minor is run with", _OURS),
    "containerd-unsupported": Rule("a kubelet has the containerd that its minor runs on", _OURS),
    # Of a move.
    "minor-skipped": Rule("an API server goes from one minor to the next, never over one", _POLICY),
    "etcd-minor-skipped": Rule("etcd goes from one minor to the next, never over one", _ETCD_36),
    "kubelet-undrained": Rule("a kubelet changes its minor only on a drained node", _POLICY),
    "minor-downgraded": Rule("Kubernetes reads no data that a later minor has written", _POLICY),
    "etcd-downgraded": Rule("etcd reads no data that a later minor has written; it goes back only while another member "
                            "is of the minor before", _ETCD_BACK),
    "patch-downgraded": Rule("an older patch brings back the faults it was left for", _OURS),
    "component-downgraded": Rule("an older version brings back the faults it was left for, and may not read what the "
                                 "newer one has written", _OURS),
    # Of a request.
    "release-missing": Rule("each minor on the way is a release that can be had", _OURS),
    "component-missing": Rule("what runs has a version to go to", _OURS),
}


@dataclass(frozen=True)
class Fault:
    """What breaks which rule."""

    rule: str
    saw: str

    @property
    def source(self) -> str:
        return RULES[self.rule].source

    def __str__(self) -> str:
        return f"{self.rule}: {self.saw}"


@dataclass(frozen=True)
class Runs:
    """What one component runs on one host; `emulates` is the minor that it was told to behave as (`1.36`), if any."""

    version: Version
    emulates: str = ""

    @property
    def acts_as(self) -> Version:
        """Return the version that others may count on: of the emulated minor where there is one."""
        return Version.parse(f"{self.emulates}.0") if self.emulates else self.version

    def __str__(self) -> str:
        return f"{self.version} as {self.emulates}" if self.emulates else str(self.version)


class Place(NamedTuple):
    """A component on a host; what runs in Pods has no host."""

    component: str
    host: str = ""


State = Mapping[Place, Runs]


def laid_out(cluster: Cluster, lock: ArtifactLock, emulates: str = "") -> State:
    """Return the state of a cluster that runs what `lock` pins, everywhere: what was applied, or what is asked for.

    Its control planes behave as the minor `emulates`, if any is given.
    """
    versions = pinned(lock)
    state: dict[Place, Runs] = {}
    for row in (r for r in TABLE if r.name in versions and r.is_used(cluster)):
        hosts = [""] if row.in_pods else [h.name for h in cluster.machines if row.runs_on(cluster, h)]
        as_old = emulates if row.name in AS_OLD else ""
        state |= {Place(row.name, host): Runs(versions[row.name], as_old) for host in hosts}
    servers = [place.host for place in state if place.component == SERVER]
    return state | {Place(KUBECTL, host): Runs(versions[KUBECTL]) for host in servers if KUBECTL in versions}


def seen(applied: State, hosts: Mapping[str, HostObserved]) -> State:
    """Return what was applied with what the hosts' links lead to, and units say, in its place: a kill lets them differ.

    A unit that has not started with its link yet counts as moved; it is due for a restart, and gets it in that turn.
    """
    links = ((host, item.state) for host, seen_on in hosts.items() for item in seen_on.items.values())
    return _told(_linked(applied, links), ((host, path, str(item.extra["text"])) for host, seen_on in hosts.items()
                                           for (_, path), item in seen_on.items.items() if "text" in item.extra))


def after(state: State, changes: Iterable[Change]) -> State:
    """Return the state when these changes are made: each link leads where it is to lead, each unit says what it will.
    """
    made = list(changes)
    units = ((c.host, c.path, c.item.content) for c in made if isinstance(c.item, File) and c.item.content is not None)
    return _told(_linked(state, ((change.host, change.want) for change in made)), units)


def _told(state: State, files: Iterable[tuple[str, str, str]]) -> State:
    """Return the state with what units, of a host, are told to behave as; files that are no unit's say nothing."""
    made = dict(state)
    units = {f"{UNIT_DIR}/{name}.service": name for name in AS_OLD}
    for host, path, text in files:
        place = Place(units.get(path, ""), host)
        if place in made:
            found = _EMULATES.search(text)
            made[place] = Runs(made[place].version, found[1] if found else "")
    return made


def _linked(state: State, links: Iterable[tuple[str, str]]) -> State:
    """Return the state with what each link, of a host, leads to; what leads to no artifact of ours says nothing."""
    made = dict(state)
    for host, link in links:
        stored = Stored.of_link(link)
        place = Place(_COMPONENT_OF.get(stored.name, stored.name), host) if stored else None
        if stored and place in made:
            made[place] = Runs(Version.parse(stored.version), made[place].emulates)
    return made


def pinned(lock: ArtifactLock) -> Mapping[str, Version]:
    """Return planned component -> version as a lock pins it; what is not there is not in it."""
    found = {a.name if a.name in KUBERNETES_BINARIES else a.component: a.version for a in lock.artifacts}
    return {name: Version.parse(found[name]) for name in PLANNED if name in found}


def of(state: State, *components: str) -> Iterator[Runs]:
    """Yield what these components run, on all hosts."""
    return (runs for place, runs in state.items() if place.component in components)


def faults(state: State, minors: Mapping[str, Minor] = MINORS) -> list[Fault]:
    """Return what breaks a rule in this state; none for a legal one. `minors` says what goes with a minor."""
    servers = list(of(state, SERVER))
    both = [version for runs in servers for version in (runs.version, runs.acts_as)]
    found = [_named(text) for text in skew_faults(
        both, controllers=(r.acts_as for r in of(state, *CONTROLLERS)), kubectl=(r.version for r in of(state, KUBECTL)),
        kubelets=(r.version for r in of(state, KUBELET)), proxies=(r.version for r in of(state, PROXY)))]
    return [*found, *_of_hosts(state, minors), *_of_etcd(state),
            *_unsupported(of(state, ETCD), ETCD, (r.version for r in servers), minors)]


def _named(text: str) -> Fault:
    rule, _, saw = text.partition(": ")
    return Fault(rule, saw)


def _of_hosts(state: State, minors: Mapping[str, Minor]) -> Iterator[Fault]:
    for place, runs in state.items():
        if place.component != KUBELET:
            continue
        proxy, runtime = (state.get(Place(name, place.host)) for name in (PROXY, RUNTIME))
        if proxy and abs(proxy.version.minor - runs.version.minor) > 3:
            yield Fault("kubelet-proxy-skew", f"{place.host}: kube-proxy {proxy.version} beside kubelet {runs.version}")
        if runtime:
            yield from _unsupported([runtime], RUNTIME, [runs.version], minors)


def _of_etcd(state: State) -> Iterator[Fault]:
    members = sorted({runs.version for runs in of(state, ETCD)})
    if not members:
        return
    oldest, newest = members[0], members[-1]
    if (oldest.major, newest.minor - oldest.minor) not in ((newest.major, 0), (newest.major, 1)):
        yield Fault("etcd-skew", f"members of {oldest} and {newest} are more than one minor apart")
    least = ETCD_BEFORE.get(newest[:2])
    if least and oldest[:2] != newest[:2] and oldest < least:
        yield Fault("etcd-patch-first", f"etcd {oldest} is older than {least}, beside {newest}")


def _unsupported(
    runs: Iterable[Runs], component: str, programs: Iterable[Version], minors: Mapping[str, Minor],
) -> Iterator[Fault]:
    """Yield each version of a component that is not among those that a minor of Kubernetes is run with."""
    versions = sorted({r.version for r in runs})
    for minor in sorted({f"{v.major}.{v.minor}" for v in programs} & minors.keys()):
        for version in versions:
            why = floor_fault(component, str(version), minors[minor].floors.get(component, {})) \
                if component in minors[minor].floors else ""
            if why:
                yield Fault(f"{component}-unsupported", f"beside Kubernetes {minor}: {why}")


def move_faults(place: Place, before: Runs, after: Runs, state: State, *, drained: bool) -> list[Fault]:
    """Return what breaks a rule in this one move out of `state`, going back included; none for a legal one."""
    found = []
    name, was, will = place.component, before.version, after.version
    if name in AS_OLD and will.minor > before.acts_as.minor + 1:
        found.append(Fault("minor-skipped", f"{name} {before} to {after}"))
    if name == ETCD and (will.major, will.minor) > (was.major, was.minor + 1):
        found.append(Fault("etcd-minor-skipped", f"etcd {was} to {will}"))
    if name == KUBELET and will[:2] != was[:2] and not drained:
        found.append(Fault("kubelet-undrained", f"{place.host}: kubelet {was} to {will}"))
    if name == SERVER and after.acts_as.minor < before.acts_as.minor:
        found.append(Fault("minor-downgraded", f"{name} {before} to {after}"))
    others = [runs.version[:2] for other, runs in state.items() if other.component == ETCD and other != place]
    if name == ETCD and will[:2] < was[:2] and will[:2] not in others:
        found.append(Fault("etcd-downgraded", f"no member runs {will.major}.{will.minor} any more"))
    return found


def downgrades(state: State, target: Mapping[str, Version]) -> list[Fault]:
    """Return every component that `target` would take back from what runs, each once, by the rule that forbids it."""
    found = []
    for name in (n for n in PLANNED if n in target):
        newest = max((runs.version for runs in of(state, name)), default=target[name])
        if target[name] < newest:
            older = target[name][:2] < newest[:2]
            ours = name in KUBERNETES_BINARIES
            rule = ("minor-downgraded" if older else "patch-downgraded") if ours else (
                "etcd-downgraded" if name == ETCD and older else "component-downgraded")
            found.append(Fault(rule, f"{name} {newest} to {target[name]}"))
    return found

