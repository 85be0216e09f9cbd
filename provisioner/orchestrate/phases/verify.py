"""The last phase: everything at once, as `status` and `ready` see it."""

from __future__ import annotations

from provisioner.errors import GateFailed
from provisioner.operate import nodes
from provisioner.orchestrate.gates import health, proofs, workloads
from provisioner.orchestrate.gates.gate_probes import DNS, SERVICE
from provisioner.orchestrate.plan import applied
from provisioner.orchestrate.session import telling
from provisioner.orchestrate.session.phase import counted
from provisioner.orchestrate.session.session import Session
from provisioner.orchestrate.turn.apply import apply_batch, over_connections

FORWARDED = (DNS, SERVICE)      # what other rules on the nodes may keep from its way


def mark_nodes(session: Session) -> str:
    """Set the labels and taints of the Nodes that the plan names: a kubelet does so at its first registration only.

    A host that was given up may have none.
    """
    changes = [c for c in session.the_plan.objects
               if c.phase == nodes.PHASE and c.identity.removeprefix(nodes.KIND) not in session.unreachable]
    if not changes:
        return ""
    kube = session.access.kube()
    session.run.still_ours()
    nodes.apply_marks(kube, session.cluster, [c.identity.removeprefix(nodes.KIND) for c in changes])
    telling.of_objects(session, changes)
    return f"{counted(len(changes), 'node')} labelled"


def cluster_is_healthy(session: Session) -> None:
    """Prove in one round per host that every unit is current and answers, then the cluster as a whole."""
    probes = health.probes_of_hosts(session)
    try:
        proofs.hosts_hold(session, {h: [p for of in of_phase.values() for p in of] for h, of_phase in probes.items()},
                         "verify")
    except GateFailed as fault:
        if any(f"{name}:" in fault.message for name in FORWARDED):
            fault.details = (*fault.details, *workloads.in_the_way(session))
        raise
    health.holds(session)


def prove_and_record(session: Session) -> None:
    """Prove the cluster, and only then write down, on the hosts and here, what it was made from.

    A run that left something out writes nothing down: what the cluster was last made from is not all of this.
    """
    cluster_is_healthy(session)
    if not session.is_whole:
        return
    changes = session.the_plan.of("verify")
    if changes:
        apply_batch(session, "verify.0", changes, over_connections)
    applied.keep(session.target.inventory, session.target.applied)
