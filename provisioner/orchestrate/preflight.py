"""Look whether every machine is fit, tell everything at once, and refuse before the first change.

What `observe` answers anyway is judged in every run; hosts are asked for more (`inspect`) only where something is to
be changed, so a second `up` pays nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from provisioner.errors import KubewrightError, PreflightRefused, Unreachable, UsageFault
from provisioner.model.artifact import ArtifactLock
from provisioner.model.desired import Artifact
from provisioner.model.inspection import Inspection
from provisioner.model.plan import Plan
from provisioner.operate.checks import machine, occupied, table
from provisioner.operate.checks.finding import Finding, Group, HostSeen, Seen, grouped
from provisioner.orchestrate.session import Session
from provisioner.orchestrate.survey import survey
from provisioner.transport import remote

MIB = 1 << 20


@dataclass(frozen=True)
class Report:
    """What all checks found; fit means that no finding is an error."""

    hosts: int
    findings: tuple[Finding, ...]
    skipped: frozenset[str] = field(default_factory=frozenset)

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.severity == "warning")

    def result(self, check: str) -> tuple[str, tuple[str, ...]]:
        """Return the worst word for one check (ok, warning, error, skipped), and the hosts that it is about."""
        if check in self.skipped:
            return "skipped", ()
        for word, findings in (("error", self.errors), ("warning", self.warnings)):
            hosts = tuple(dict.fromkeys(f.host for f in findings if f.check == check))
            if hosts:
                return word, hosts
        return "ok", ()

    def asked(self, check: str) -> int:
        """Return how many hosts could be asked: one that we cannot log in to is judged by nothing else."""
        names = [c.name for c in table.CHECKS]
        earlier = set(table.REACHING) & set(names[:names.index(check)])
        return self.hosts - len({f.host for f in self.errors if f.check in earlier})

    def to_json(self) -> Mapping[str, Any]:
        """Return the report as plain values."""
        checks = [{"name": c.name, "doc": c.doc, "result": self.result(c.name)[0]} for c in table.CHECKS]
        return {"fit": not self.errors, "hosts": self.hosts, "checks": checks,
                "findings": [f.to_json() for f in self.findings]}

    def refuse(self) -> None:
        """Raise PreflightRefused with every error of every host, those of one cause in one line."""
        if self.errors:
            hosts = len({f.host for f in self.errors})
            groups = grouped(self.errors)
            raise PreflightRefused(
                f"{hosts} of {self.hosts} hosts {'is' if hosts == 1 else 'are'} not fit; nothing was changed anywhere",
                details=[line for group in groups for line in lines(group)], hint="kubewright check")


def lines(group: Group) -> Iterable[str]:
    """Return one cause as people read it: who, which check, what was seen; then how to cure it."""
    yield f"{', '.join(group.hosts)}: {group.check}: {group.saw}"
    yield from (f"    {cure}" for cure in group.cures)


def known_checks(names: Collection[str]) -> None:
    """Refuse names that no check has: a misspelt one would skip nothing, in silence."""
    unknown = sorted(set(names) - set(table.SKIPPABLE))
    if unknown:
        raise UsageFault(f"there is no check {', '.join(unknown)} that can be skipped",
                         details=[f"can be skipped: {' '.join(table.SKIPPABLE)}"], hint="kubewright check --help")


def look(session: Session, skip: Collection[str] = ()) -> Report:
    """Run every check on every host and return all that was found; reads only.

    Hosts that do not answer are findings. A step that still runs on one raises LockHeld: what it is about to change
    cannot be judged.
    """
    faults = _meet(session)
    plan = None if faults or _report(session).errors else survey(session)
    return _report(session, skip, faults, _inspect(session, session.observed), plan)


def fit_survey(session: Session, skip: Collection[str] = ()) -> Plan:
    """Survey like `survey`, but raise PreflightRefused where a host is not fit; warnings are told as events.

    Nothing has been changed anywhere when this raises.
    """
    plan = survey(session, admit=lambda: _admit(session, skip))
    changed = dict.fromkeys(change.host for change in plan.changes)
    report = _report(session, skip, inspections=_inspect(session, changed), plan=plan)
    report.refuse()
    for group in grouped(report.warnings) if not plan.is_empty else ():
        session.tell("diagnostic", message="; ".join(line.strip() for line in lines(group)),
                     data={"check": group.check, "hosts": list(group.hosts)})
    return plan


def _admit(session: Session, skip: Collection[str]) -> None:
    """Refuse by facts alone, before a plan is tried; whoever is refused hears the other findings as well."""
    if _report(session, skip).errors:
        _report(session, skip, inspections=_inspect(session, session.observed)).refuse()


def _meet(session: Session) -> dict[str, KubewrightError]:
    """Observe every host, set `session.observed` to those that answered, and return why the others did not."""
    outcomes = remote.observe_each(session.pool, {h.name: () for h in session.cluster.machines})
    session.observed = {n: o for n, o in outcomes.items() if not isinstance(o, KubewrightError)}
    faults = {n: o for n, o in outcomes.items() if isinstance(o, KubewrightError)}
    for fault in faults.values():
        if not isinstance(fault, Unreachable):
            raise fault
    return faults


def _inspect(session: Session, hosts: Iterable[str]) -> dict[str, Inspection]:
    return remote.inspect(session.pool, hosts, ports=occupied.ports_to_ask(session.cluster),
                          paths=tuple(occupied.EVIDENCE), directories=machine.DIRECTORIES)


def _report(
    session: Session, skip: Collection[str] = (), faults: Mapping[str, KubewrightError] | None = None,
    inspections: Mapping[str, Inspection] | None = None, plan: Plan | None = None,
) -> Report:
    hosts = {name: _seen(session, name, (inspections or {}).get(name), plan) for name in session.observed}
    seen = Seen(session.cluster, session.lock, hosts, faults or {})
    return Report(len(session.cluster.hosts), tuple(table.run(seen, skip)), frozenset(skip))


def _seen(session: Session, name: str, inspection: Inspection | None, plan: Plan | None) -> HostSeen:
    observed = session.observed[name]
    return HostSeen(session.cluster.machine(name), observed.facts, observed.clock_off, inspection,
                    missing_mib(name, observed.facts.arch, session.lock, inspection, plan))


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
