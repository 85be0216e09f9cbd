"""The verbs that change something, a row each, and the phases of `up`, one a line: nothing else knows their order.

`after` and `gate_after` hold for a first start alone, where phases run beside one another (walk.py).
"""

from __future__ import annotations

from provisioner.compile import networks
from provisioner.decide import turns
from provisioner.model.phases import JOIN, PhaseName
from provisioner.model.plan import Plan
from provisioner.orchestrate.gates import node_states, proofs
from provisioner.orchestrate.phases import (
    control_plane,
    converge,
    etcd,
    load_balancer,
    nodes,
    objects,
    removing,
    stage,
    together,
    verify,
)
from provisioner.orchestrate.run import (
    defrag,
    draining,
    leaving,
    os_roll,
    recover,
    replacing,
    reset,
    restore,
    rollback,
    up,
    upgrade,
    upgrade_back,
)
from provisioner.orchestrate.run.options import Intent
from provisioner.orchestrate.run.verb import Verb
from provisioner.orchestrate.session.phase import Phase
from provisioner.orchestrate.session.session import Session


def _holds(name: PhaseName, *after: PhaseName) -> Phase:
    """Return a phase that applies the changes called `name` and proves them by the host's own probes."""
    return Phase(name, _DOCS[name], converge.phase(name), lambda session: together.begun_holds(session, name), after)


def _network_holds(session: Session) -> None:
    together.begun_holds(session, "network")
    if networks.of(session.cluster).ours:
        begun = together.begun(session, "network")
        node_states.nodes_are_ready(session, [h for h in session.answering(session.cluster.nodes) if h in begun])


_DOCS = {
    "runtime": "containerd and the images of ours",
    "node": "kubelet and kube-proxy",
}

UP: tuple[Phase, ...] = (
    Phase("prepare", "packages, users and kernel settings, by Ansible", converge.prepare, after=()),
    Phase("stage", "binaries and images, streamed to the hosts that lack them", stage.stage, after=()),
    Phase("pki", "certificates, keys and kubeconfigs", converge.phase("pki"), after=("prepare", "stage")),
    _holds("runtime", "pki"),
    Phase("etcd", "the members, gated on one agreed leader", etcd.change_members, etcd.gate, after=("pki",)),
    Phase("load-balancer", "HAProxy on every host, keepalived where the VIP may be", load_balancer.change_balancers,
          lambda session: proofs.phase_holds(session, "load-balancer"), after=("pki",)),
    Phase("control-plane", "kube-apiserver, gated on /readyz direct, through HAProxy and at the VIP",
          control_plane.change_servers, control_plane.gate, after=("pki",), gate_after=("etcd", "load-balancer")),
    Phase("controllers", "kube-controller-manager and kube-scheduler", converge.phase("controllers"),
          lambda session: together.begun_holds(session, "controllers"), after=("runtime", "access")),
    Phase("access", "who may do what: RBAC bindings", objects.apply_access, objects.admin_is_admitted,
          after=("control-plane",)),
    Phase("node", _DOCS["node"], nodes.change_nodes, lambda session: together.begun_holds(session, "node"),
          ("controllers",)),
    Phase("network", "flannel; gated on the nodes being Ready", converge.phase("network"), _network_holds,
          after=("node",)),
    Phase(JOIN, "what runs of Kubernetes on the other control planes", converge.phase(JOIN),
          control_plane.all_have_joined, after=("network",)),
    Phase("addons", "CoreDNS and metrics-server", objects.apply_addons, objects.addons_are_available,
          after=("access",), gate_after=(JOIN,)),
    Phase("remove", "what is ours on a host and no longer desired: units, files, Nodes, then what cannot be put back",
          removing.take_away),
    Phase("verify", "labels and taints of nodes; every unit, the VIP, DNS and every node once more",
          verify.mark_nodes, verify.prove_and_record, after=(JOIN,), gate_after=("addons", "remove")),
)

# Nothing to change: only the proof.
VERIFY: tuple[Phase, ...] = UP[-1:]

def _arranged(plan: Plan) -> tuple[Phase, ...]:
    phases = UP if plan.bootstrap else tuple(p for p in UP if p.name != JOIN)
    return turns.arranged(plan, phases, lambda phase: phase.name)


def _in_order(intent: Intent, plan: Plan) -> tuple[Phase, ...]:
    return intent.phases(_arranged(plan))


_FROM_INVENTORY = Verb("up", up.plan, up.consent, _in_order, up.begin, VERIFY)

VERBS: dict[str, Verb] = {
    "up": _FROM_INVENTORY,
    "resume": _FROM_INVENTORY,
    "retry": _FROM_INVENTORY,
    "upgrade": Verb("upgrade", upgrade.plan, upgrade.consent, _in_order, upgrade.begin, VERIFY,
                    onward=upgrade.onward),
    upgrade_back.VERB: Verb("", upgrade_back.plan, upgrade_back.consent,
                            lambda intent, plan: upgrade_back.through(_arranged(plan)), proof=VERIFY),
    "upgrade --os": Verb("", os_roll.plan, os_roll.consent, os_roll.through, finish=os_roll.finish),
    "rollback": Verb("", rollback.plan, rollback.consent, lambda intent, plan: rollback.through(UP, plan)),
    "etcd defrag": Verb("", defrag.plan, defrag.consent, defrag.through),
    "etcd recover": Verb("", recover.plan, restore.consent, recover.through, recover.begin, finish=restore.finish,
                         watched=False),
    "etcd restore": Verb("", restore.plan, restore.consent, restore.through, finish=restore.finish, watched=False),
    "node drain": Verb("", draining.plan_drain, draining.ask_drain, draining.through_drain, watched=False),
    "node uncordon": Verb("", draining.plan_uncordon, draining.ask_uncordon, draining.through_uncordon, watched=False),
    "node replace": Verb("node replace", replacing.plan, replacing.consent,
                         lambda intent, plan: _arranged(plan), up.begin, VERIFY),
    "node remove": Verb("node remove", leaving.plan, leaving.consent,
                        lambda intent, plan: leaving.through(_arranged(plan), intent),
                        leaving.begin, finish=leaving.finish),
    "reset": Verb("", reset.plan, reset.consent, reset.through, held=reset.held, finish=reset.finish, watched=False),
}
