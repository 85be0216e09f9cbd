"""Look whether every machine is fit, tell everything at once, and refuse before the first change.

What `observe` answers anyway is judged in every run; hosts are asked for more (`inspect`) only where something is to
be changed, so a second `up` pays nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from provisioner.compile import web_proxy
from provisioner.converge import login, runner
from provisioner.errors import KubewrightError, LockHeld, PreflightRefused, Unreachable, UsageFault
from provisioner.model.artifact import ArtifactLock
from provisioner.model.components import units_on
from provisioner.model.desired import Artifact, File, Symlink
from provisioner.model.finding import Finding
from provisioner.model.inspection import Inspection
from provisioner.model.plan import Plan
from provisioner.model.ports import ETCD_CLIENT, LOCAL_API
from provisioner.model.reach import Probed
from provisioner.operate.checks import by_trying, kernel, leftovers, occupied, past, places, table
from provisioner.operate.checks.finding import HostSeen, Seen
from provisioner.orchestrate.plan import pairs
from provisioner.orchestrate.plan.survey import survey
from provisioner.orchestrate.session.session import Session
from provisioner.parallel import ask_all
from provisioner.report.findings import grouped, paragraph
from provisioner.transport.faults import FORBIDDEN
from provisioner.transport.hosts import OneHost
from provisioner.transport.pool import raise_all

MIB = 1 << 20
MEET = 2                        # seconds in which a step that runs there may end: else that is what is found
T = TypeVar("T")
UNASKED = "-"                   # the word for a question that nobody was asked: it is not ok


@dataclass(frozen=True)
class Report:
    """What all checks found; fit means that no finding is an error.

    `answered` says how many hosts each check could be asked of, `beside` what no host's finding is: why there is no
    plan. Faults of hosts, not their findings, decide the exit code where there is nothing else.
    """

    hosts: int
    findings: tuple[Finding, ...]
    answered: Mapping[str, int]
    skipped: frozenset[str] = field(default_factory=frozenset)
    faults: Mapping[str, KubewrightError] = field(default_factory=dict)
    beside: KubewrightError | None = None
    probed: Probed | None = None

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.severity == "warning")

    @property
    def unseen(self) -> tuple[Finding, ...]:
        """Return what could not be looked at, which is neither healthy nor unhealthy."""
        return tuple(f for f in self.findings if f.severity == "unseen")

    def result(self, check: str) -> tuple[str, tuple[str, ...]]:
        """Return the worst word for one check, and the hosts that it is about.

        It is ok, warning, error, unseen, skipped, or `-` where nobody could be asked.
        """
        if check in self.skipped:
            return "skipped", ()
        for word, findings in (("error", self.errors), ("warning", self.warnings), ("unseen", self.unseen)):
            hosts = tuple(dict.fromkeys(f.host for f in findings if f.check == check))
            if hosts:
                return word, hosts
        return ("ok" if self.answered[check] else UNASKED), ()

    def to_json(self) -> Mapping[str, Any]:
        """Return the report as plain values."""
        checks = [{"name": c.name, "doc": c.doc, "result": self.result(c.name)[0], "asked": self.answered[c.name]}
                  for c in table.CHECKS]
        return {"fit": not self.errors and self.beside is None, "hosts": self.hosts, "checks": checks,
                "findings": [f.to_json() for f in self.findings],
                "tried": None if self.probed is None else self.probed.to_json()}

    @property
    def exit_code(self) -> int:
        """Return how a command ends that has found this; 0 where every host is fit."""
        fault = self._fault("")
        return fault.exit_code if fault else 0

    def refuse(self, hint: str = "kubewright check") -> None:
        """Raise every error of every host, those of one cause in one line.

        It is PreflightRefused, Unreachable where no host lets us in at all, LockHeld where runs at work are all that is
        in the way.
        """
        fault = self._fault(hint)
        if fault:
            raise fault

    def _fault(self, hint: str) -> KubewrightError | None:
        if not self.errors:
            return self.beside
        hosts = {f.host for f in self.errors}
        details = [line for group in grouped(self.errors) for line in paragraph(group)]
        if self.beside is not None:
            details.append(self.beside.message)
        kind: type[KubewrightError] = PreflightRefused
        if {f.check for f in self.errors} == {"idle"}:
            kind = LockHeld
        elif len(self.faults) == self.hosts and all(isinstance(f, Unreachable) for f in self.faults.values()):
            kind = Unreachable
        return kind(f"{len(hosts)} of {self.hosts} hosts {'is' if len(hosts) == 1 else 'are'} not fit; "
                    "nothing was changed anywhere", details=details, hint=hint)


def known_checks(names: Collection[str]) -> None:
    """Refuse names that no check has: a misspelt one would skip nothing, in silence."""
    for name in names:
        table.named(name)
    unknown = sorted(set(names) - set(table.SKIPPABLE))
    if unknown:
        raise UsageFault(f"there is no check {', '.join(unknown)} that can be skipped",
                         details=[f"can be skipped: {' '.join(table.SKIPPABLE)}"], hint="kubewright check --help")


def look(session: Session, skip: Collection[str] = (), *, probe: bool | None = None) -> Report:
    """Run every check on every host and return all that was found; reads only.

    New hosts try to reach the others, and their disks; with `probe` all do and have more time, or none does. What fails
    on one host is a finding of that host, and hides nothing of the others.
    """
    faults = _meet(session)
    plan, beside = (None, None) if faults or _report(session).errors else _plan(session)
    new = _new(session) if probe is not False else ()
    (asked, failed), probed = _beside(session, lambda: _ask_all(session, skip), new, skip, thorough=bool(probe))
    return _report(session, skip, {**faults, **failed}, asked, plan, beside or _unreadable(session), probed)


def _unreadable(session: Session) -> KubewrightError | None:
    """Return why the secrets that a first `up` would make could not be opened again, None where they could."""
    try:
        if not session.target.secrets.exists:
            session.target.secrets.prove()
    except KubewrightError as fault:
        return fault
    return None


def _plan(session: Session) -> tuple[Plan | None, KubewrightError | None]:
    """Return the plan, which says what is missing on each host, or why there is none that is no finding."""
    observed = session.observed
    try:
        return survey(session), None
    except KubewrightError as fault:
        session.target.observed = observed
        known = session.target.foreign or fault.code == FORBIDDEN      # it is a finding of its host
        return None, None if known else fault


def fit_survey(session: Session, skip: Collection[str] = ()) -> Plan:
    """Survey like `survey`, but raise PreflightRefused where a host is not fit; warnings are told as events.

    Nothing has been changed anywhere when this raises. New hosts, on which all is missing, try what only a try shows
    while the plan is made: they need no more than each other's addresses.
    """
    tries: list[Future[Probed]] = []
    beside = ThreadPoolExecutor(1, thread_name_prefix="check")

    def admit() -> None:
        _admit(session, skip)
        if (new := _new(session)) and not set(skip) >= by_trying.NAMES:
            tries.append(beside.submit(pairs.probe, session, new, skip))

    try:
        plan = survey(session, admit=admit)
        changing = dict.fromkeys(change.host for change in plan.changes)
        asked = raise_all(ask(session, changing, skip, kept=runner.control_dir() if changing else None))
        probed = tries[0].result() if tries else None
    except KubewrightError:
        wait(tries)         # they talk over our connections
        raise
    finally:
        beside.shutdown(wait=False)
    report = _report(session, skip, asked=asked, plan=plan, probed=probed)
    report.refuse()
    for group in grouped((*report.warnings, *report.unseen)) if not plan.is_empty else ():
        session.tell("diagnostic", message="; ".join(line.strip() for line in paragraph(group)),
                     data={"check": group.check, "hosts": list(group.hosts)})
    return plan


def _admit(session: Session, skip: Collection[str]) -> None:
    """Refuse by facts alone, before a plan is tried; whoever is refused hears the other findings as well."""
    if _report(session, skip).errors:
        asked, failed = _ask_all(session, skip)
        _report(session, skip, failed, asked).refuse()


def _new(session: Session) -> list[str]:
    """Return the hosts on which nothing of any cluster of ours was ever changed."""
    return [name for name, observed in session.observed.items() if observed.owner is None]


def _beside(session: Session, asks: Callable[[], T], new: Collection[str], skip: Collection[str], *,
            thorough: bool = False) -> tuple[T, Probed | None]:
    """Ask, and let new hosts (with `thorough` all) try meanwhile what only a try shows."""
    if not (new or thorough) or set(skip) >= by_trying.NAMES:
        return asks(), None
    acts: dict[str, Callable[[], Any]] = {
        "ask": asks, "probe": lambda: pairs.probe(session, None if thorough else new, skip, thorough=thorough)}
    answers = ask_all(lambda act: acts[act](), acts, workers=len(acts), name="check")
    return answers["ask"], answers["probe"]


def _meet(session: Session) -> dict[str, KubewrightError]:
    """Observe every host, set `session.observed` to those that answered, and return why the others did not."""
    outcomes = session.hosts.observe_each({h.name: () for h in session.cluster.machines}, wait=MEET)
    session.target.observed = {n: o for n, o in outcomes.items() if not isinstance(o, KubewrightError)}
    return {n: o for n, o in outcomes.items() if isinstance(o, KubewrightError)}


@dataclass(frozen=True)
class Asked:
    """What a host answered, what else was tried there and did not go, and how many seconds Ansible's login took."""

    inspection: Inspection
    refused: tuple[KubewrightError, ...] = ()
    login: float = 0.0


def ask(session: Session, hosts: Iterable[str], skip: Collection[str] = (), *, kept: Path | None = None,
        ) -> dict[str, Asked | KubewrightError]:
    """Ask each of these hosts for more than its facts, and try what else a run needs of its login.

    In the directory `kept` Ansible's login stays open for the run that follows.
    """
    ports = occupied.ports_to_ask(session.cluster)
    questions = {host: _question(session, host, ports) for host in hosts}

    def asked(one: OneHost) -> Asked:
        refused: list[KubewrightError] = []
        # Ansible's login goes beside our question: a host has more than one processor, and the network takes its time.
        acts: dict[str, Callable[[], Any]] = {"inspect": lambda: one.inspect(questions[one.name])}
        if "ansible" not in skip:
            acts["login"] = lambda: _tried(refused, lambda: login.prove(one.target, kept=kept))
        answers = ask_all(lambda act: acts[act](), acts, workers=len(acts), name="check")
        for port in _tunnels(session, one.name) if "forwarding" not in skip else ():
            _tried(refused, partial(one.require_forwarding, port))
        return Asked(answers["inspect"], tuple(refused), answers.get("login") or 0.0)

    return session.hosts.map(asked, questions)


def _ask_all(session: Session, skip: Collection[str]) -> tuple[dict[str, Asked], dict[str, KubewrightError]]:
    """Ask every host that could be met as root, and keep every host's outcome."""
    unfit = {f.host for f in _report(session).errors if f.check in table.REACHING}
    outcomes = ask(session, [h for h in session.observed if h not in unfit], skip)
    return ({n: o for n, o in outcomes.items() if not isinstance(o, KubewrightError)},
            {n: o for n, o in outcomes.items() if isinstance(o, KubewrightError)})


def _question(session: Session, host: str, ports: Sequence[int]) -> dict[str, object]:
    here, facts = session.cluster.machine(host), session.observed[host].facts
    return {"ports": list(ports), "paths": list(occupied.PATHS),
            "files": _files(session, host),
            "directories": list(places.directories(session.cluster, here)),
            "pods": [str(pods) for pods in session.cluster.network.pods],
            "system": True, "features": list(kernel.features(session.cluster, here)), "devices": list(kernel.DEVICES),
            "units": list(units_on(session.cluster, here, session.system_of(host))), **_mirror(session, host),
            **leftovers.asked(session.cluster), **past.question(session.cluster, here, facts),
            # Packages that come with us are asked of no source.
            **({"packages": []} if facts.packaged_as in session.run.packages else {})}


def _files(session: Session, host: str) -> list[str]:
    """Return the files that a run would overwrite on a host; without a plan those that others bring most often."""
    if session.plan is None:
        return list(occupied.FILES)
    return [c.path for c in session.plan.changes
            if c.host == host and c.kind in (File.kind, Symlink.kind) and c.action == "change"]


def _mirror(session: Session, host: str) -> dict[str, object]:
    """Return what a host is asked of the inventory's mirror: about one file that it would fetch, where there is any."""
    mirror = web_proxy.mirror_of(session.cluster)
    if session.plan is None:
        lacks = [artifact.sha256 for artifact in session.target.artifacts.for_arch(session.observed[host].facts.arch)]
    else:
        lacks = [c.item.sha256 for c in session.plan.of("stage").get(host, ()) if isinstance(c.item, Artifact)]
    if mirror is None or not lacks:
        return {}
    return {"mirror": mirror.told(), "mirrored": lacks[0]}


def _tunnels(session: Session, host: str) -> tuple[int, ...]:
    """Return the ports that are reached through the host's sshd."""
    etcd = (ETCD_CLIENT,) if host in {h.name for h in session.cluster.etcd_hosts} else ()
    return (*etcd, LOCAL_API) if host in {h.name for h in session.cluster.control_planes} else etcd


def _tried(refused: list[KubewrightError], act: Callable[[], T]) -> T | None:
    """Return what `act` returns; what it raises is kept, each sentence once."""
    try:
        return act()
    except KubewrightError as fault:
        if fault.message not in {f.message for f in refused}:
            refused.append(fault)
        return None


def _report(
    session: Session, skip: Collection[str] = (), faults: Mapping[str, KubewrightError] | None = None,
    asked: Mapping[str, Asked] | None = None, plan: Plan | None = None,
    beside: KubewrightError | None = None, probed: Probed | None = None,
) -> Report:
    alone = probed.alone if probed else {}
    hosts = {name: replace(_seen(session, name, (asked or {}).get(name), plan), alone=alone.get(name))
             for name in session.observed}
    seen = Seen(session.cluster, session.target.artifacts, hosts, faults or {}, probed,
                frozenset(session.run.packages))
    findings = tuple(table.run(seen, skip))
    return Report(len(session.cluster.hosts), findings, table.asked(seen, findings), frozenset(skip), faults or {},
                  beside, probed)


def _seen(session: Session, name: str, asked: Asked | None, plan: Plan | None) -> HostSeen:
    observed, inspection = session.observed[name], asked.inspection if asked else None
    return HostSeen(session.cluster.machine(name), observed.facts, observed.clock_off, inspection,
                    missing_mib(name, observed.facts.arch, session.target.artifacts, inspection, plan),
                    session.target.foreign.get(name), asked.refused if asked else (), asked.login if asked else 0.0)


def missing_mib(host: str, arch: str, lock: ArtifactLock, inspection: Inspection | None, plan: Plan | None) -> int:
    """Return how much the host still has to get: as the plan says; without one, all of the lock on a new host."""
    if plan is not None:
        items = [change.item for change in plan.of("stage").get(host, ())]
        size = sum(item.size for item in items if isinstance(item, Artifact))
    elif inspection is not None and not inspection.prepared:
        size = sum(artifact.size for artifact in lock.for_arch(arch))
    else:
        size = 0
    return -(-size // MIB)
