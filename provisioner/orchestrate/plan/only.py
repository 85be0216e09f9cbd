"""Do some workers alone: they and the control planes are looked at, for all else is as it was last applied.

So what a new host costs does not grow with the cluster. Where the inventory asks for anything else as well, or nobody
knows what was last applied, this is refused: what is not looked at must need nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from provisioner.compile import load_balancer, rules
from provisioner.compile.context import ClusterContext
from provisioner.errors import RefusedForSafety, Unreachable
from provisioner.model.applied import Applied
from provisioner.model.plan import NOTED, Plan, Verdict
from provisioner.orchestrate.plan import applied, running
from provisioner.orchestrate.session.session import Session

CODE = "not-looked-at"


def look_at(session: Session, hosts: Collection[str]) -> None:
    """Leave all workers but these unasked, and all that is only prepared; RefusedForSafety where that could miss
    something that was asked for.

    Asks the control planes what was last applied; raises their faults where none answers.
    """
    needed = [h for h in hosts if h not in session.workers]
    if needed:
        raise RefusedForSafety(f"{', '.join(needed)}: done alone: only hosts that are workers and nothing else can be",
                               code="host-needed", hint="kubewright up")
    before = applied.ask_hosts(session)
    if before is None:
        raise RefusedForSafety("no host says what this cluster was last made from: all hosts must be looked at",
                               code="only-unknown", hint="kubewright up")
    running.follow(session, before)
    asked = session.target.applied
    more = [*_more(before, asked, hosts), *_of_their_number(before, asked)]
    if more:
        raise RefusedForSafety(f"{', '.join(hosts)}: done alone: the inventory asks for more since the last `up`",
                               code="only-more", details=[f"differs too: {', '.join(more)}", "nothing was changed"],
                               hint="kubewright plan")
    spare = [h.name for h in session.cluster.machines if not h.roles and h not in session.cluster.etcd_hosts]
    others = [h for h in (*session.workers, *spare) if h not in hosts]
    session.run.not_looked_at = frozenset(others)
    session.run.unreachable |= {h: Unreachable(f"{h}: not looked at, as asked") for h in others}


def noted(session: Session, plan: Plan) -> Plan:
    """Return the plan with a word on the hosts that it says nothing of."""
    number = len(session.run.not_looked_at)
    if not number:
        return plan
    what = "worker" if session.run.not_looked_at <= set(session.workers) else "host"
    note = Verdict(f"{number} other {what}{'s' * (number > 1)}", CODE, NOTED,
                   "what was changed there by hand is not in this plan", "as last applied", "not looked at")
    return replace(plan, verdicts=(*plan.verdicts, note))


def _more(before: Applied, now: Applied, hosts: Collection[str]) -> list[str]:
    """Return what differs beside these hosts, by its place in the inventory."""
    if _text(before, hosts) == _text(now, hosts):
        return []
    paths = (path for path, _, _ in rules.differing(rules.document(before.cluster), rules.document(now.cluster)))
    places = dict.fromkeys(".".join(path[:2]) if path[0] == "hosts" else path[0] for path in paths)
    found = [place for place in places if place not in {f"hosts.{name}" for name in hosts}]
    return [*found, *(["artifacts.lock"] if before.lock != now.lock else [])] or ["the inventory"]


def _of_their_number(before: Applied, now: Applied) -> list[str]:
    """Return what every host needs because there are more of them now."""
    often = [load_balancer.intervals(ClusterContext(one.cluster, one.lock, {}, {}).balanced) for one in (before, now)]
    return [] if often[0] == often[1] else ["how often each host asks the API servers, for there are more hosts now"]


def _text(applied: Applied, without: Collection[str]) -> str:
    hosts = {name: spec for name, spec in applied.cluster.hosts.items() if name not in without}
    return replace(applied, cluster=applied.cluster.model_copy(update={"hosts": hosts})).to_text()
