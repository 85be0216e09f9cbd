"""A verb that changes something, from cluster.yaml to its proof: connect, look, plan, ask, lock, run.

This order is the same for every verb and stands only here. Whoever calls (a command line, a test, a program over many
clusters) says what is wanted and answers one question.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace

from provisioner.decide.batches import Limit
from provisioner.model.availability import budget_of
from provisioner.model.draining import Rules
from provisioner.model.events import Emit
from provisioner.model.inventory import Inventory
from provisioner.model.plan import Plan
from provisioner.orchestrate.lock import cluster_lock
from provisioner.orchestrate.plan import only
from provisioner.orchestrate.plan.approval import Agreed
from provisioner.orchestrate.plan.preflight import known_checks
from provisioner.orchestrate.run import bundled, engine
from provisioner.orchestrate.run.options import Intent
from provisioner.orchestrate.run.verb import Consent, Verb
from provisioner.orchestrate.run.verbs import VERBS
from provisioner.orchestrate.session import degraded, runs
from provisioner.orchestrate.session import session as sessions
from provisioner.orchestrate.session.phase import Phase
from provisioner.orchestrate.session.session import Session
from provisioner.orchestrate.watch import prober


def no_way_in() -> None:
    """Do nothing: the hosts are reached from where we are."""


@dataclass(frozen=True)
class Caller:
    """Who wants it: answers whether the plan may be done, reads the run's events, and opens the way to the hosts.

    `ask` is called once with every plan, also one without work, and shows what it likes; whatever it raises ends the
    run with nothing changed. `enter` is called before the first connection.
    """

    ask: Callable[[Plan, Consent], bool]
    readers: Callable[[Session], Emit]
    enter: Callable[[], None] = no_way_in


@dataclass(frozen=True)
class Performed:
    """What came of it: the plan that was done, or was not `agreed` to; `session` is closed."""

    session: Session
    plan: Plan
    agreed: bool


def perform(inventory: Inventory, intent: Intent, caller: Caller) -> Performed:
    """Do what was asked, each phase proved before the next.

    What can be refused without a host is refused before one is asked anything, and nothing is changed anywhere before
    the plan was agreed to and the cluster's lock is held. Raises the KubewrightError of whatever refuses or fails.
    """
    verb = VERBS[intent.verb]
    budget, limit = budget_of(intent.slo), Limit.parse(intent.max_unavailable)
    known_checks(intent.skip)
    intent.fits(inventory.cluster)
    agreed = _agreed_before(verb, inventory, intent)
    intent = replace(intent, allow=agreed.allowed)      # what the plan was allowed, whoever goes on with the run is too
    packages = bundled.packages_in(intent.bundle, inventory) if intent.bundle else {}
    caller.enter()
    with sessions.open_session(inventory, lambda event: None, run=True) as session:
        session.run.emit, session.run.max_unavailable = caller.readers(session), limit
        session.run.origin, session.run.options = runs.origin(session, intent.verb), intent.to_json()
        session.run.allowed, session.run.packages = agreed.allowed, packages
        session.run.draining = Rules(intent.drain_timeout, intent.force)
        degraded.leave_out(session, intent.without)
        if intent.alone:
            only.look_at(session, intent.only)
        locked = cluster_lock.look(session)
        plan = verb.plan(session, intent, agreed)
        if not caller.ask(plan, verb.consent(intent, plan)):
            return Performed(session, plan, agreed=False)
        epoch = None
        if plan.has_work:
            with verb.held(session, intent, locked):
                epoch, plan = session.run.epoch, verb.begin(session, intent, agreed, plan)
                engine.run(session, verb.chosen(intent, plan),
                           prober.during(session, budget) if verb.watched else nullcontext(),
                           lambda: _next(verb, session, intent, agreed))
        elif verb.proof:
            engine.run(session, verb.proof)
        verb.finish(session, intent, epoch)
    return Performed(session, plan, agreed=True)


def _next(verb: Verb, session: Session, intent: Intent, agreed: Agreed) -> tuple[Phase, ...]:
    """Return the phases of the next pass, none where the run has come to its end."""
    plan = verb.onward(session, intent, agreed)
    return verb.chosen(intent, plan) if plan is not None else ()


def _agreed_before(verb: Verb, inventory: Inventory, intent: Intent) -> Agreed:
    """Return what was agreed to before this call; refuses by what this machine alone knows."""
    if not verb.rules:      # its words are its own, and it judges them itself
        return Agreed.to(inventory, intent.verb, intent.plan_file, intent.allow)
    return Agreed.before(inventory, verb.rules, intent.plan_file, intent.allow, (*intent.leaving, *intent.replacing))
