"""What a person agreed to before a run: changes of the inventory that need a word, or one saved plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from provisioner.errors import UsageFault
from provisioner.model.inventory import Inventory
from provisioner.model.plan import Plan
from provisioner.model.plan_document import PlanDocument
from provisioner.orchestrate.plan import applied, saved
from provisioner.orchestrate.session.session import Session


@dataclass(frozen=True)
class Agreed:
    """Rules that `--allow` named, and the plan that was shown, if it was saved.

    `verb` is whom the rules judge for, with the hosts `named`.
    """

    verb: str = ""
    allowed: tuple[str, ...] = ()
    file: Path | None = None
    plan: PlanDocument | None = None
    named: tuple[str, ...] = ()

    @classmethod
    def before(cls, inventory: Inventory, verb: str, file: Path | None, allow: Sequence[str],
               named: tuple[str, ...] = ()) -> Agreed:
        """Read and judge what can be judged without any host.

        Raises UsageFault, PlanStale for a plan that was made from something else, RefusedForSafety for a change of the
        inventory that a live cluster cannot be given, or not without `--allow`.
        """
        applied.known_flags(allow)
        agreed = cls.to(inventory, verb, file, allow, named)
        applied.need_flags(inventory, applied.judge_here(inventory, verb, named), agreed.allowed,
                           verb=_command(verb))
        return agreed

    @classmethod
    def to(cls, inventory: Inventory, verb: str, file: Path | None, allow: Sequence[str], named: tuple[str, ...] = (),
           ) -> Agreed:
        """Read what was agreed to, and judge nothing: for a verb whose words are its own.

        Raises UsageFault, and PlanStale for a plan that was made from something else.
        """
        if file is None:
            return cls(verb, tuple(allow), named=named)
        shows = saved.shows(verb)
        if allow:
            raise UsageFault("--allow and --plan: what was allowed is in the plan already",
                             hint=f"{shows} {' '.join(f'--allow {a}' for a in allow)} --out {file}")
        plan = saved.read(file, inventory, shows)
        return cls(verb, plan.allowed, file, plan, named)

    def hold(self, session: Session, plan: Plan) -> Plan:
        """Return the plan if it is what was agreed to, else raise RefusedForSafety or PlanStale; nothing is changed.

        What the rules say about changes that go on is told as events.
        """
        plan = applied.judge_hosts(session, plan, self.verb, self.named)
        applied.need_flags(session.target.inventory, plan.verdicts, self.allowed, verb=_command(self.verb))
        for verdict in plan.verdicts:
            session.tell("diagnostic", message=str(verdict), data=verdict.to_json())
        return self.same(plan)

    def hold_generated(self, plan: Plan) -> Plan:
        """Return the plan that was made anew with the first CAs if it has the same changes for the same reasons."""
        return self.same(plan, generated=True)

    def same(self, plan: Plan, *, generated: bool = False) -> Plan:
        """Return the plan if none was saved or it is that one, else raise PlanStale; nothing is changed."""
        if self.plan is not None and self.file is not None:
            saved.refuse_moved(self.file, self.plan, plan, saved.shows(self.verb), generated=generated)
        return plan


def _command(verb: str) -> str:
    """Return the verb that takes a word after `--allow`."""
    return verb if verb == "upgrade" else "up"
