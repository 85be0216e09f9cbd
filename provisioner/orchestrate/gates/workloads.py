"""What runs in the cluster itself: proved available, and where it is not, why, in its own last words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from provisioner.errors import KubewrightError
from provisioner.operate import health, pods
from provisioner.orchestrate.gates import proofs
from provisioner.orchestrate.session.session import Session

# Seconds for a cluster's very first Pods: on an emulated processor (`vagrant up` without KVM) they took over 130.
FIRST_PODS = 300.0


def deployment_is_available(session: Session, namespace: str, name: str) -> None:
    """Prove that all replicas of a Deployment's present generation are available; GateFailed tells what holds them up.

    While this run does without a node, one is enough: the others may have been there.
    """
    missing = any(host.name in session.unreachable for host in session.cluster.nodes)
    selector: dict[str, str] = {}

    def look() -> str:
        body = session.access.kube().get(f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}")
        selector.update(body["spec"].get("selector", {}).get("matchLabels", {}))
        return health.of_deployment(body, missing=missing)

    proofs.wait_until(session, "addons", look, FIRST_PODS if session.the_plan.bootstrap else proofs.DEADLINE,
                     proof=f"all replicas of {namespace}/{name} are available",
                     blame=lambda: _blame(session, namespace, selector))


def _blame(session: Session, namespace: str, selector: Mapping[str, str]) -> tuple[str, Sequence[str]]:
    labels = ",".join(f"{key}={value}" for key, value in selector.items())
    shows = (f"on {session.cluster.control_planes[0].name}: kubectl --kubeconfig /etc/kubernetes/admin.conf "
             f"-n {namespace} describe pods -l {labels}")
    try:
        causes = pods.troubles(session.access.kube(), namespace, labels)
    except KubewrightError as fault:
        causes = [fault.message]
    return shows, (*causes, *in_the_way(session))


def in_the_way(session: Session) -> list[str]:
    """Return what on the nodes keeps packets of Pods or Services from their way: rules that are not ours."""
    question = {"pods": [str(network) for network in session.cluster.network.pods]}
    hosts = [h.name for h in session.cluster.nodes if h.name not in session.unreachable]
    seen = session.hosts.map(lambda one: one.inspect(question), hosts)
    found: dict[str, list[str]] = {}
    for host, answer in seen.items():
        if isinstance(answer, KubewrightError):
            continue
        for chain in answer.forward_drops:
            found.setdefault(f"what is forwarded for Pods is dropped by {chain}", []).append(host)
        own = session.system_of(host).rules == "iptables"
        for chain in () if own else answer.services_of_others:
            what = f"rules of another kube-proxy in iptables' {chain} catch what is for Services"
            found.setdefault(what, []).append(host)
    return [f"{', '.join(names)}: {what}" for what, names in found.items()]
