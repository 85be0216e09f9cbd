"""On a first start one step a host makes the changes of several phases between which nothing has to be proved.

Each step costs a start of Ansible, a login and the host's own lock. So one step writes all files, and starts what the
API needs; a second starts the rest, once the API answers. The phases stay as they are otherwise: the later ones find
their changes made, and prove them. On a live cluster each phase makes its own.

One control plane is enough for all that comes after it. So what runs of Kubernetes on the others is started when the
nodes of the first and of the workers are Ready, and metrics-server has to wait for its second look anyway.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from provisioner.compile.etcd import BOOTSTRAP_ENV
from provisioner.model.components import CONTROL_PLANES, NODES, TABLE, Component
from provisioner.model.desired import Unit
from provisioner.model.phases import JOIN, PhaseName
from provisioner.model.plan import Change
from provisioner.orchestrate.gates import proofs
from provisioner.orchestrate.phases import new_cluster
from provisioner.orchestrate.session.phase import counted
from provisioner.orchestrate.session.session import Session
from provisioner.orchestrate.turn.apply import Carry, Changes, by_ansible, over_connections

# phase -> those whose changes its step makes too, in this order: what others wait for longest comes first
WITH: Mapping[PhaseName, tuple[PhaseName, ...]] = {
    "pki": ("etcd", "control-plane", "load-balancer", "runtime"),
    "controllers": ("node", "network"),
    JOIN: ("runtime", "control-plane", "controllers", "node", "network"),
}
# phase -> those whose files its step writes too; their units, started before the API lets them in, would ask in vain,
# and then again after ever longer pauses
FILES: Mapping[PhaseName, tuple[PhaseName, ...]] = {"pki": ("controllers", "node", "network")}


def join_later(session: Session) -> tuple[str, ...]:
    """Return the control planes that a first start leaves to the phase `join`: all but the first."""
    return tuple(session.answering(session.cluster.control_planes)[1:]) if session.the_plan.bootstrap else ()


def begun(session: Session, phase: PhaseName) -> tuple[str, ...]:
    """Return the hosts that a phase's own proof is about: on a first start not those whose units `join` starts."""
    later = join_later(session)
    if later and all(row.phase != phase for row in _held(session)):
        later = ()
    return tuple(host for host in session.the_plan.desired.hosts if host not in later)


def begun_holds(session: Session, phase: PhaseName) -> None:
    """Prove a phase by its hosts' own probes, on a first start where its units have been started by now."""
    proofs.phase_holds(session, phase, begun(session, phase))


def _held(session: Session) -> tuple[Component, ...]:
    """Return the components that `join` starts: an API server's, and a node's where the others are enough.

    The first Pods are spread over the nodes that are there then, and stay: on as many as there are replicas two could
    come to one, while another node is not known yet. It is decided once, before the first unit is started.
    """
    if session.target.holds_nodes is None:
        nodes = set(session.answering(session.cluster.nodes)) - set(join_later(session))
        replicas = [o.body["spec"]["replicas"] for o in session.the_plan.desired.objects
                    if o.body["kind"] == "Deployment"]
        session.target.holds_nodes = len(nodes) > max(replicas, default=0)
    places = (CONTROL_PLANES, NODES) if session.target.holds_nodes else (CONTROL_PLANES,)
    return tuple(row for row in TABLE if row.place in places)


def changes(session: Session, phase: PhaseName) -> Changes:
    """Return what is left of a phase's changes by host, on a first start with those that are made with them."""
    whole = (phase, *(WITH.get(phase, ()) if session.the_plan.bootstrap else ()))
    files = FILES.get(phase, ()) if session.the_plan.bootstrap else ()
    later = frozenset(join_later(session))
    held = {unit for row in _held(session) for unit in row.units} if later and phase != JOIN else ()
    found: dict[str, list[Change]] = {}
    for name in (*whole, *files):
        if name == "etcd" and session.the_plan.bootstrap:
            for member in session.cluster.etcd_hosts:
                if (member.name, "file", BOOTSTRAP_ENV) not in session.target.done:
                    found.setdefault(member.name, []).append(new_cluster.begins(session, member.name))
        for host, of_host in session.changes(name).items():
            now = [c for c in of_host
                   if c.kind != Unit.kind or (name in whole and not (host in later and c.path in held))]
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
