"""On a first start one step a host makes the changes of several phases between which nothing has to be proved.

Each step costs a start of Ansible, a login and the host's own lock. So one step writes all files, and starts what the
API needs; a second starts the rest, once the API answers. The phases stay as they are otherwise: the later ones find
their changes made, and prove them. On a live cluster each phase makes its own.

One API server is enough for all that comes after it. So those of the other control planes are started when the nodes
are Ready, and metrics-server has to wait for its second look anyway.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from provisioner.compile.etcd import BOOTSTRAP_ENV
from provisioner.model.desired import Unit
from provisioner.model.phases import JOIN, PhaseName
from provisioner.model.plan import Change
from provisioner.orchestrate.phases import new_cluster
from provisioner.orchestrate.session.phase import counted
from provisioner.orchestrate.session.session import Session
from provisioner.orchestrate.turn.apply import Carry, Changes, by_ansible, over_connections

# phase -> those whose changes its step makes too, in this order: what others wait for longest comes first
WITH: Mapping[PhaseName, tuple[PhaseName, ...]] = {
    "pki": ("etcd", "control-plane", "load-balancer", "runtime"),
    "controllers": ("node", "network"),
    JOIN: ("control-plane", "controllers"),
}
# phase -> those whose files its step writes too; their units, started before the API lets them in, would ask in vain,
# and then again after ever longer pauses
FILES: Mapping[PhaseName, tuple[PhaseName, ...]] = {"pki": ("controllers", "node", "network")}


def join_later(session: Session) -> tuple[str, ...]:
    """Return the control planes that a first start leaves to the phase `join`: all but the first."""
    return tuple(session.answering(session.cluster.control_planes)[1:]) if session.the_plan.bootstrap else ()


def begun(session: Session, phase: PhaseName) -> tuple[str, ...]:
    """Return the hosts that a phase's own proof is about: on a first start not those whose units `join` starts."""
    later = join_later(session) if phase in WITH[JOIN] else ()
    return tuple(host for host in session.the_plan.desired.hosts if host not in later)


def changes(session: Session, phase: PhaseName) -> Changes:
    """Return what is left of a phase's changes by host, on a first start with those that are made with them."""
    whole = (phase, *(WITH.get(phase, ()) if session.the_plan.bootstrap else ()))
    files = FILES.get(phase, ()) if session.the_plan.bootstrap else ()
    later = frozenset(join_later(session))
    found: dict[str, list[Change]] = {}
    for name in (*whole, *files):
        if name == "etcd" and session.the_plan.bootstrap:
            for member in session.cluster.etcd_hosts:
                if (member.name, "file", BOOTSTRAP_ENV) not in session.target.done:
                    found.setdefault(member.name, []).append(new_cluster.begins(session, member.name))
        for host, of_host in session.changes(name).items():
            starts = name in whole and (phase == JOIN or name not in WITH[JOIN] or host not in later)
            now = [c for c in of_host if starts or c.kind != Unit.kind]
            if now:
                found.setdefault(host, []).extend(now)
    ordered = _units_last if session.the_plan.bootstrap else tuple[Change, ...]
    return {host: ordered(found[host]) for host in session.the_plan.desired.hosts if host in found}


def _units_last(changes: Sequence[Change]) -> tuple[Change, ...]:
    """Return a step's changes with all files first: systemd reads its own once, before the first unit is started."""
    return tuple(sorted(changes, key=lambda c: c.kind == Unit.kind and c.action != "remove"))


def carrier(session: Session, changes: Changes) -> Carry:
    """Return what carries a step: a first start's second one only starts what Ansible has brought, as notes go."""
    starts = all(c.kind == Unit.kind and c.action == "start" for of_host in changes.values() for c in of_host)
    return over_connections if session.the_plan.bootstrap and starts else by_ansible


def told(session: Session, phase: PhaseName, done: str) -> str:
    """Return what is told of a phase that has just made its changes; where earlier ones made them, which."""
    leaders = [name for of in (FILES, WITH) for name, others in of.items() if phase in others and name != JOIN]
    made = [(c.host, c.path) for of_host in session.the_plan.of(phase).values() for c in of_host
            if (c.host, c.kind, c.path) in session.target.done]
    if done or not made or not leaders or not session.the_plan.bootstrap:
        return done
    hosts = counted(len({host for host, _ in made}), "host")
    return f"{hosts}, {counted(len(made), 'change')}, made with {' and '.join(leaders)}"
