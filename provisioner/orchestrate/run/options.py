"""What a person asked of a run; it is noted with the run, so that `resume` asks for the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from provisioner.compile.objects import HOSTS_LIST
from provisioner.decide import turns
from provisioner.errors import RefusedForSafety, UsageFault
from provisioner.model.applied import HOST_PATH
from provisioner.model.cluster import Cluster
from provisioner.model.phases import BEGINNINGS, PHASES, is_phase
from provisioner.model.plan import Plan
from provisioner.orchestrate.plan import only
from provisioner.orchestrate.session.phase import Phase, nothing
from provisioner.orchestrate.session.session import Session


@dataclass(frozen=True)
class Back:
    """What to go back from: a run or one step, all that it changed or one component of it. Default: the newest run."""

    component: str = ""
    run: str = ""
    step: str = ""


SOAK = 86_400.0     # seconds that a minor is on trial where nobody says how long
BY_NAME = ("reset", "node drain", "node uncordon")      # verbs whose hosts are arguments, not an option


@dataclass(frozen=True)
class Intent:
    """The verb and the options that decide what is done and what stops it.

    `start` is the phase to begin at, `until` the last one whose changes are made, `only` the hosts whose changes
    are made (all when empty), `without` the hosts that are left out, `bundle` the file that brings everything. With
    `alone`, other workers than `only` are not even looked at. `leaving` are taken out, and `lost` says that they
    answer no more. Pods of a Node that is drained have `drain_timeout` seconds to go, and in the namespaces of
    `force` they go against their budgets. A minor of Kubernetes is on trial for `soak` seconds (0: not at all), and
    `finish` ends that. With `reboot` every host is rebooted, and each has `boot_timeout` seconds to come back. The
    machines of `replacing` are others now. `plan_file`, `back` and `file` (a snapshot) hold
    for one run only: nobody goes on with it by them.
    """

    verb: str = "up"
    skip: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    max_unavailable: str = "1"
    slo: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    start: str = ""
    only: tuple[str, ...] = ()
    alone: bool = False
    plan_file: Path | None = None
    back: Back = Back()
    file: Path | None = None
    leaving: tuple[str, ...] = ()
    replacing: tuple[str, ...] = ()
    lost: bool = False
    drain_timeout: float = 300.0
    force: tuple[str, ...] = ()
    until: str = ""
    bundle: str = ""
    soak: float = 0.0
    finish: bool = False
    reboot: bool = False
    boot_timeout: float = 600.0

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values, without what holds for one run only."""
        return {name: list(value) if isinstance(value, tuple) else value
                for name, value in asdict(self).items() if name not in ("plan_file", "back", "file")}

    @classmethod
    def of(cls, document: Mapping[str, Any], verb: str) -> Intent:
        """Read what `to_json` wrote, for a run by another verb.

        An upgrade that was noted before there were trials goes on with one, as it would be begun now.
        """
        document = {**({"soak": SOAK} if verb == "upgrade" else {}), **document}
        known: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value
                                 for name, value in document.items() if name in cls.__dataclass_fields__}
        return replace(cls(**known), verb=verb)

    def bounds(self) -> list[str]:
        """Return the options of an upgrade that say how far it goes, with whom, and what stops it, as they are typed.
        """
        return [*(f"--only {host}" for host in self.only), *([f"--until {self.until}"] if self.until else ()),
                *(f"--slo {budget}" for budget in self.slo),
                *([f"--max-unavailable {self.max_unavailable}"] if self.max_unavailable != "1" else ()),
                *(f"--without {host}" for host in self.without)]

    def fits(self, cluster: Cluster) -> None:
        """Raise UsageFault for hosts and phases that do not exist."""
        unknown = [host for host in self.only if host not in cluster.hosts]
        if unknown:
            option = "--only" if self.alone or self.verb.startswith("upgrade") else "--host"
            asked = self.verb if self.verb in BY_NAME else option
            raise UsageFault(f"{asked} {', '.join(unknown)}: not in the inventory",
                             details=[f"hosts: {' '.join(cluster.hosts)}"], hint="kubewright status")
        if self.alone and (self.plan_file or self.without):
            other = "a saved plan" if self.plan_file else "--without"
            raise UsageFault(f"--only and {other} do not go together", hint=f"kubewright up --only {self.only[0]}")
        for option, phase in (("--from", self.start), ("--until", self.until)):
            if phase and phase not in BEGINNINGS:
                raise UsageFault(f"{option} {phase}: there is no such phase",
                                 details=[f"phases: {' '.join(BEGINNINGS)}"], hint="kubewright plan")

    def narrow(self, session: Session, plan: Plan) -> Plan:
        """Return the plan without what was not asked for, and note in the session whether anything was taken out.

        Raises RefusedForSafety where one host's changes are asked for and there is no cluster yet: its first members
        are founded together.
        """
        if self.only and plan.bootstrap:
            raise RefusedForSafety("there is no cluster yet: its first members can only be started together",
                                   code="no-cluster", hint="kubewright up")
        first = PHASES.index(self.start) if is_phase(self.start) else 0
        later = [phase for phase in turns.through(self.until if is_phase(self.until) else None)
                 if PHASES.index(phase) >= first]
        changes = tuple(c for c in plan.changes if c.phase in later and (
            not self.only or c.host in self.only or (self.alone and c.path == HOST_PATH)))
        objects = tuple(o for o in plan.objects if o.phase in later
                        and (not self.only or o.identity in {HOSTS_LIST, *(f"Node {host}" for host in self.only)}))
        session.target.narrowed = len(changes) < len(plan.changes) or len(objects) < len(plan.objects)
        return session.go_by(only.noted(session, replace(plan, changes=changes, objects=objects)))

    def phases(self, phases: Sequence[Phase]) -> tuple[Phase, ...]:
        """Return the phases, those before the first one asked for with their proof only."""
        names: list[str] = [phase.name for phase in phases]
        first = names.index(self.start) if self.start else 0
        return tuple(replace(phase, act=nothing) if n < first else phase for n, phase in enumerate(phases))
