"""The phases of `up` in their order; a module of its own, so that help and completion know them at once."""

from __future__ import annotations

from typing import Final, Literal, TypeGuard, get_args

PhaseName = Literal[
    "prepare",        # packages, users, kernel settings
    "stage",          # binaries and images under /opt/kubewright
    "pki",            # certificates, keys, kubeconfigs; the stamp program
    "runtime",        # containerd, images
    "etcd",
    "load-balancer",  # haproxy on every host, keepalived where the VIP may be
    "control-plane",  # kube-apiserver
    "controllers",    # kube-controller-manager, kube-scheduler
    "access",         # objects: who may do what
    "node",           # kubelet, kube-proxy
    "network",        # the Pod network, and what looks after the rules and routes
    "join",           # on a first start: what runs of Kubernetes on all control planes but the first
    "addons",         # objects: CoreDNS, metrics-server
    "remove",         # what is ours and no longer desired
    "verify",
]
PHASES: tuple[PhaseName, ...] = get_args(PhaseName)
JOIN: Final = "join"
BEGINNINGS: tuple[PhaseName, ...] = tuple(phase for phase in PHASES if phase != JOIN)
"""Where a run may be told to begin or end: no change is of the phase `join`, which starts those of others."""


def is_phase(text: str) -> TypeGuard[PhaseName]:
    """Say whether a text names a phase: the names of steps begin with one, unless they were made by hand."""
    return text in PHASES
