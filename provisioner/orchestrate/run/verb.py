"""What makes one verb another: how it comes to its plan, what is asked before it begins, and its phases.

What all of them share, and in which order, stands in perform.py; the verbs that there are, are rows in verbs.py.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from provisioner.model.plan import Plan
from provisioner.orchestrate.lock.cluster_lock import ClusterLock
from provisioner.orchestrate.plan.approval import Agreed
from provisioner.orchestrate.run.options import Intent
from provisioner.orchestrate.session.phase import Phase
from provisioner.orchestrate.session.session import Session


@dataclass(frozen=True)
class Consent:
    """What a person is asked before the first change; `doing` names it where nobody can be asked."""

    question: str
    doing: str


def as_planned(session: Session, intent: Intent, agreed: Agreed, plan: Plan) -> Plan:
    """Begin with nothing; for verbs that need nothing before their first phase."""
    return plan


def by_all(session: Session, intent: Intent, locked: ClusterLock) -> AbstractContextManager[None]:
    """Hold the lock by a majority of the control planes."""
    return locked.held()


def nowhere(session: Session, intent: Intent, agreed: Agreed) -> Plan | None:
    """Go no further than the plan; for verbs that are done in one pass."""
    return None


def as_it_is(session: Session, intent: Intent, epoch: int | None) -> None:
    """Leave everything as the run has left it."""


@dataclass(frozen=True)
class Verb:
    """A verb that changes something.

    `rules` names the verb that the change rules (compile/rules.py) judge the inventory for, "" where what the
    inventory says is no matter. `plan` looks at the hosts, refuses what it must, and changes nothing anywhere;
    `begin` is the first that may, under the cluster's lock, and returns the plan as it is then. `chosen` returns
    the phases of a plan. `proof` are the phases where there is nothing to change. `held` holds the lock, and
    `finish` is called when it was given back, with the epoch that it had. `watched` says whether it is measured if
    the cluster serves meanwhile. `onward` returns the plan of the next pass over the phases when one was proved,
    None where there is no other.
    """

    rules: str
    plan: Callable[[Session, Intent, Agreed], Plan]
    consent: Callable[[Intent, Plan], Consent]
    chosen: Callable[[Intent, Plan], tuple[Phase, ...]]
    begin: Callable[[Session, Intent, Agreed, Plan], Plan] = as_planned
    proof: tuple[Phase, ...] = ()
    held: Callable[[Session, Intent, ClusterLock], AbstractContextManager[None]] = by_all
    finish: Callable[[Session, Intent, int | None], None] = as_it_is
    watched: bool = True
    onward: Callable[[Session, Intent, Agreed], Plan | None] = nowhere
