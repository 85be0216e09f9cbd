"""What `plan` and `upgrade --plan` show: the plan that `up` or `upgrade` would make now; changes nothing anywhere."""

from __future__ import annotations

from provisioner.artifacts.supply import first_lock, is_first
from provisioner.decide.batches import Limit
from provisioner.model.artifact import ArtifactLock
from provisioner.model.events import Emit
from provisioner.model.inventory import Inventory
from provisioner.model.plan import Plan
from provisioner.orchestrate.plan import only
from provisioner.orchestrate.plan.applied import judge_here, judge_hosts, known_flags
from provisioner.orchestrate.plan.approval import Agreed
from provisioner.orchestrate.plan.survey import survey
from provisioner.orchestrate.run import os_roll, upgrade, upgrade_back
from provisioner.orchestrate.run.options import Intent
from provisioner.orchestrate.session import degraded
from provisioner.orchestrate.session import session as sessions


def refuse_before(inventory: Inventory, intent: Intent) -> None:
    """Refuse what can be refused without any host: wrong words, and what this inventory never may be changed to."""
    known_flags(intent.allow)
    Limit.parse(intent.max_unavailable)
    intent.fits(inventory.cluster)
    if intent.verb != upgrade_back.VERB:
        judge_here(inventory, intent.verb)


def look_ahead(inventory: Inventory, intent: Intent, emit: Emit) -> Plan:
    """Look at the hosts and return the plan, with what needs a word noted in it and not refused."""
    with sessions.open_session(inventory, emit, run=False, lock=_lock(inventory, intent)) as session:
        session.run.allowed, session.run.max_unavailable = intent.allow, Limit.parse(intent.max_unavailable)
        degraded.leave_out(session, intent.without)
        if intent.alone:
            only.look_at(session, intent.only)
        if intent.verb == upgrade_back.VERB:
            return upgrade_back.planned(session)
        if intent.verb == "upgrade":
            session.target.follows = False
            found = upgrade.on_the_way(session, intent, Agreed(), survey(session))
            return upgrade.judged(session, intent, intent.narrow(session, judge_hosts(session, found, intent.verb)))
        found = judge_hosts(session, survey(session), intent.verb)
        return intent.narrow(session, found) if intent.alone else found


def is_provisional(inventory: Inventory, intent: Intent) -> bool:
    """Say whether a first `up` is looked at before anything was pinned; a plan that is kept is of pinned bytes."""
    return intent.verb == "up" and intent.plan_file is None and is_first(inventory)


def _lock(inventory: Inventory, intent: Intent) -> ArtifactLock | None:
    return first_lock(inventory) if is_provisional(inventory, intent) else None


def look_at_systems(inventory: Inventory, intent: Intent, emit: Emit) -> tuple[Plan, str]:
    """Look at what the hosts' own systems wait for, and say how it is done; only the lists of packages change."""
    limit = Limit.parse(intent.max_unavailable)
    with sessions.open_session(inventory, emit, run=False) as session:
        session.run.max_unavailable = limit
        degraded.leave_out(session, intent.without)
        return os_roll.judged(session, intent), os_roll.again(intent)
