"""Is the cluster well? One list of questions, asked by `status`, `ready`, the last gate of `up`, and before its first
restart.

What a question finds is judged in operate/health.py. Everything here only reads, and reads anew each time.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from provisioner.compile import networks
from provisioner.compile.etcd import quota_of
from provisioner.decide.etcd import disagreements
from provisioner.errors import KubewrightError
from provisioner.model.components import ELECTED
from provisioner.model.desired import Unit
from provisioner.model.etcd import Alarm, EtcdStatus
from provisioner.model.finding import Finding
from provisioner.model.observed import UnitState
from provisioner.operate import etcd
from provisioner.operate import health as judge
from provisioner.operate.kube import ApiFault, Kube, object_path
from provisioner.orchestrate.gates import etcd_members, lapsed, proofs
from provisioner.orchestrate.gates.gate_probes import API_IS_READY, Probe, host_probes, node_probes, vip_probes
from provisioner.orchestrate.session.session import Session
from provisioner.parallel import ask_all
from provisioner.report.findings import lines

LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
RENEWED = 12.0      # seconds in which a lease that somebody holds is renewed, whatever the clocks say
AGAIN = 0.5         # seconds between two looks at leases that seem old


@dataclass(frozen=True)
class Question:
    """A named question; `ask` notes what it saw and yields what it found."""

    name: str
    doc: str
    ask: Callable[[Session, Sight], Iterable[Finding]]


Chain = tuple[Question, ...]
"""Questions in their order: a later one uses what an earlier one saw."""


@dataclass
class Sight:
    """One look: what the questions found, and what they saw on the way, for who shows it.

    `members` are etcd's by host, `nodes` the API's Nodes by name (None: not seen), `api` says of each control plane
    whether its API server is ready by its own host's word, `down` the units of each host that do not run.
    """

    findings: list[Finding] = field(default_factory=list)
    members: dict[str, EtcdStatus | KubewrightError] = field(default_factory=dict)
    nodes: dict[str, dict[str, Any]] | None = None
    api: dict[str, bool] = field(default_factory=dict)
    down: dict[str, list[str]] = field(default_factory=dict)
    holders: tuple[str, ...] | None = None
    closed: str | None = None       # why no way leads to the API, where none does
    unwell: tuple[Chain, ...] = ()  # the chains of questions that found what keeps it from being healthy

    @property
    def ill(self) -> list[Finding]:
        """Return what keeps the cluster from being healthy: what is unhealthy, and what could not be seen."""
        return [f for f in self.findings if f.severity != "warning"]


def look(session: Session, chains: Sequence[Chain]) -> Sight:
    """Ask these questions now, after a survey, and return what was found; no fault of a host or an API ends it.

    Chains are asked beside one another, and told in their order.
    """
    sight = Sight()
    told: dict[Question, list[Finding]] = {}

    def ask(chain: Chain) -> None:
        for question in chain:
            told[question] = [replace(f, expected=f.expected or question.doc) for f in question.ask(session, sight)]

    ask_all(ask, chains, workers=len(chains), name="look")
    found = dict.fromkeys(f for chain in chains for question in chain for f in told[question])
    # That the way to a host is closed is told once, and not again of the API that it leads to.
    is_told = sight.closed is not None and any(f.check == "reach" and sight.closed in f.saw for f in found)
    sight.findings = [f for f in found if not (is_told and (f.check, f.severity) == ("api", "unseen"))]
    sight.unwell = tuple(c for c in chains if any(f.severity != "warning" for q in c for f in told[q]))
    return sight


def gets_well(session: Session, sight: Sight, end: float) -> list[Finding]:
    """Ask again what this look found unhealthy, until it is well or the monotonic clock says `end`.

    Returns what then still is unhealthy. Nothing is asked where a host has to be looked at anew for the answer.
    """
    ill = sight.ill
    while ill and _HOSTS not in sight.unwell and time.monotonic() < end:
        time.sleep(AGAIN)
        ill = look(session, sight.unwell).ill
    return ill


def holds(session: Session) -> None:
    """Wait until every question about the cluster as a whole is answered well; GateFailed has what is not.

    What is asked of each host by itself has its own gate before, which tells host by host what it waits for.
    """
    proof = "; ".join(question.doc for chain in OF_CLUSTER for question in chain)
    proofs.wait_until(session, "verify", lambda: "; ".join(lines(_unfit(session))), proof=proof)


def _unfit(session: Session) -> list[Finding]:
    """Return what `up` waits for: all that is unhealthy, but for a Pod network left to others, and for little room.

    Neither gets better by waiting, and what needs room was refused before the first change.
    """
    return [f for f in look(session, OF_CLUSTER).ill if f.check not in (judge.CNI, judge.ROOM)]


def probes_of_hosts(session: Session) -> dict[str, dict[str, list[Probe]]]:
    """Return what must hold on each host: by phase, and under `verify` what many have a part in."""
    _see_network(session)
    desired = session.the_plan.desired.hosts
    found: dict[str, dict[str, list[Probe]]] = {
        host: {phase: host_probes(session, host, phase, again=True)
               for phase in dict.fromkeys(item.phase for item in of_host.items)}
        for host, of_host in desired.items()}
    of_nodes = {host.name: node_probes(session, host.name) for host in session.cluster.nodes}
    for more in (vip_probes(session), of_nodes):
        for host, probes in more.items():
            found.get(host, {}).setdefault("verify", []).extend(probes)
    return found


def _see_network(session: Session) -> None:
    """Note which nodes wait for a Pod network that is left to others: what is asked of them depends on it."""
    if not networks.of(session.cluster).ours:
        with contextlib.suppress(KubewrightError):      # that the API does not answer is told by its own question
            list(_nodes(session, Sight()))


def _hosts(session: Session, sight: Sight) -> Iterator[Finding]:
    """Ask each host that was observed for all that must hold there, in one round."""
    desired = session.the_plan.desired.hosts
    asked = {}
    for host, of_phase in probes_of_hosts(session).items():
        if host not in session.observed:
            continue
        units = {i.path: session.observed[host].state("unit", i.path) for i in desired[host].items
                 if isinstance(i, Unit)}
        if units and set(units.values()) == {"absent"}:
            yield Finding("units", host, "error", "not built yet", "kubewright up")
            continue
        sight.down[host] = [unit for unit, state in units.items() if not UnitState.of(state).runs]
        for unit in sight.down[host]:
            yield Finding("units", host, "error", f"{unit} is not running",
                          f"kubewright logs {host} {unit.removesuffix('.service')}")
        asked[host] = {phase: probes for phase, probes in of_phase.items() if probes}
    answers = session.hosts.map(
        lambda one: one.probe([p for of in asked[one.name].values() for p in of], proofs.MOMENT),
        [host for host, of_phase in asked.items() if of_phase])
    for host, answer in answers.items():
        if isinstance(answer, KubewrightError):
            yield judge.failed("reach", host, answer)
        else:
            yield from _of_probes(host, asked[host], answer["results"], sight)


def _of_probes(host: str, asked: Mapping[str, list[Probe]], results: Iterable[Mapping[str, Any]], sight: Sight,
               ) -> Iterator[Finding]:
    """Tell what does not hold on one host; of a phase whose unit is down no more than that."""
    told = iter(results)
    for of_phase in asked.values():
        answers = [(probe, next(told)) for probe in of_phase]
        is_down = any(probe.get("unit") in sight.down[host] for probe in of_phase)
        for probe, answer in answers:
            name = str(probe["name"])
            if name == API_IS_READY:
                sight.api[host], name = bool(answer["ok"]), "API"
            if not answer["ok"] and (not is_down or name == "API"):
                yield Finding("probes", host, "error", f"{name}: {answer['reason']}",
                              "kubewright up" if probe["kind"] in lapsed.GONE else "")


def _members(session: Session, sight: Sight) -> Iterator[Finding]:
    names = session.members
    sight.members = etcd_members.members(session, [n for n in names if n not in session.unreachable])
    seen = [m for m in sight.members.values() if isinstance(m, EtcdStatus)]
    yield from judge.of_members(names, sight.members, disagreements(seen, names, joining=session.joining_urls))


def _alarms(session: Session, sight: Sight) -> Iterable[Finding]:
    return alarms(session, sight.members)[1]


def alarms(session: Session, members: Mapping[str, EtcdStatus | KubewrightError],
           ) -> tuple[tuple[Alarm, ...], list[Finding]]:
    """Ask one member that has a leader for the alarms of all; without a quorum there are others that say so."""
    seen = {host: m for host, m in members.items() if isinstance(m, EtcdStatus)}
    # A member that has an alarm may be the one that does not answer: the others know its name.
    names = {m.id: m.name for s in seen.values() for m in s.members} | {m.member_id: host for host, m in seen.items()}
    fault: KubewrightError | None = None
    for host in (h for h, m in seen.items() if m.leader_id):
        try:
            raised = etcd.alarms(session.access.etcd(host))
            return raised, list(judge.of_alarms(raised, names))
        except KubewrightError as said:
            fault = said
    if fault is None:
        return (), []
    return (), [Finding("etcd-alarms", "", "unseen", f"etcd's alarms are not seen: {fault.message}", "")]


def _room(session: Session, sight: Sight) -> Iterator[Finding]:
    return judge.of_room(sight.members, {h: quota_of(session.target.reached.cluster, h) for h in sight.members})


def _lag(session: Session, sight: Sight) -> Iterator[Finding]:
    return judge.of_lag(judge.lags(sight.members))


def _vip(session: Session, sight: Sight) -> Iterator[Finding]:
    """Ask the load balancers anew who holds the VIP, and who did when it was first looked: a role may have gone since.

    Of the other hosts what was observed first still counts.
    """
    vip = session.cluster.api.vip
    if vip is None:
        return
    balancers = [h.name for h in session.cluster.load_balancers]
    held = [h for h, seen in session.observed.items() if seen.facts.interface_of(str(vip))]
    fresh = session.hosts.observe_each({h: () for h in (*balancers, *held) if h not in session.unreachable})
    seen = {**session.observed, **{h: o for h, o in fresh.items() if not isinstance(o, KubewrightError)}}
    unseen = [h for h in balancers if h not in seen or isinstance(fresh.get(h), KubewrightError)]
    sight.holders = tuple(h for h, o in seen.items() if h not in unseen and o.facts.interface_of(str(vip)))
    yield from judge.of_vip(str(vip), sight.holders, balancers, unseen)


def _nodes(session: Session, sight: Sight) -> Iterator[Finding]:
    try:
        sight.nodes = session.access.kube().nodes_by_name()
    except KubewrightError as fault:
        if judge.is_unseen(fault):
            sight.closed = fault.message.partition(": ")[2]     # of one host or of several: without their names
        yield _of_api(fault)
        return
    own = not networks.of(session.cluster).ours
    found = list(judge.of_nodes(session.answering(session.cluster.nodes), sight.nodes, own=own))
    session.target.waits_for_cni = tuple(f.host for f in found if f.check == judge.CNI)
    yield from found


def _of_api(fault: KubewrightError) -> Finding:
    words = fault.message if isinstance(fault, ApiFault) else "; ".join([fault.message, *fault.details])
    check = "rights" if isinstance(fault, ApiFault) and fault.status in (401, 403) else "api"
    return Finding(check, "", "unseen" if judge.is_unseen(fault) else "error",
                   words if words.startswith("API: ") else f"API: {words}", fault.hint)


def _asked(ask: Callable[[Session, Kube], Iterable[Finding]]) -> Callable[[Session, Sight], Iterable[Finding]]:
    """Make a question of one to the API, which is asked only where the API was seen: that it was not is told once."""

    def asked(session: Session, sight: Sight) -> Iterable[Finding]:
        if sight.nodes is None:
            return []
        try:
            return list(ask(session, session.access.kube()))
        except KubewrightError as fault:
            return [_of_api(fault)]

    return asked


def renewals(client: Kube) -> judge.Renewals:
    """Return when the leases in kube-system were renewed that somebody holds."""
    return judge.renewals(client.get(LEASES).get("items", ()))


def _leases(session: Session, client: Kube) -> Iterator[Finding]:
    """See that leases are renewed: the cluster's own writes, every few seconds, so none of ours is needed."""
    first = last = renewals(client)
    end = time.monotonic() + RENEWED
    while True:
        renewed = judge.alive(first, last, time.time())
        if set(ELECTED) <= renewed or time.monotonic() >= end:
            return judge.of_leases(renewed)
        time.sleep(AGAIN)
        last = renewals(client)


def _addons(session: Session, client: Kube) -> Iterator[Finding]:
    """Ask for what runs in the cluster for everybody: DNS, metrics, and what the API servers hand on to them."""
    if set(session.answering(session.cluster.nodes)) <= set(session.target.waits_for_cni):
        return      # nothing can run yet: that is one cause, and told of the nodes
    missing = any(host.name in session.unreachable for host in session.cluster.nodes)
    for item in session.the_plan.desired.objects:
        kind = item.body["kind"]
        if kind not in ("Deployment", "APIService"):
            continue
        body = client.find(object_path(item.body))
        if body is None:
            reason = f"{item.body['metadata']['name']}: there is no such {kind}"
        else:
            reason = judge.of_deployment(body, missing=missing) if kind == "Deployment" else judge.of_apiservice(body)
        if reason:
            yield Finding("addons", "", "error", reason, "")


def _pods(session: Session, client: Kube) -> Iterator[Finding]:
    """See that no Pod waits for a sandbox that its host refuses to make; events are asked for only where one waits."""
    waiting = judge.waiting_pods(client.get("/api/v1/pods?fieldSelector=status.phase%3DPending").get("items", ()))
    waiting = {uid: host for uid, host in waiting.items() if host not in session.unreachable}
    if waiting:
        refused = client.get("/api/v1/events?fieldSelector=reason%3DFailedCreatePodSandBox").get("items", ())
        yield from judge.of_pods(waiting, refused)


_HOSTS: Chain = (
    Question("hosts", "on each host every unit runs with its inputs and answers, and a node reaches Services", _hosts),
)
_VIP: Chain = (Question("vip", "exactly one host holds the VIP", _vip),)
_SERVING: Chain = (
    Question("etcd", "the members are one cluster of exactly the inventory's, with one agreed leader", _members),
    Question("alarms", "etcd has no alarm", _alarms),
    Question("room", "etcd has room", _room),
    Question("lag", "every member of etcd keeps up with the others", _lag),
    Question("nodes", "the API answers and every node is Ready", _nodes),
    Question("leases", "writes go through, and a controller-manager and a scheduler lead", _asked(_leases)),
)
_RUNNING: Chain = (
    Question("addons", "what we run in the cluster is available", _asked(_addons)),
    Question("pods", "no Pod waits for a host that cannot start it", _asked(_pods)),
)
# Before the first restart these are asked alone: see orchestrate/run/may_begin.py.
SERVING: tuple[Chain, ...] = (_SERVING,)
OF_CLUSTER: tuple[Chain, ...] = ((*_SERVING, *_RUNNING), _VIP)
QUESTIONS: tuple[Chain, ...] = (_HOSTS, *OF_CLUSTER)
