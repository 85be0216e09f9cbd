"""What a cluster was last made from: its inventory without logins, and the artifacts it runs; no secret is in it.

The same text lies here (`.kubewright/last-applied.yaml`) and on the control planes and etcd hosts, written when `up`
has proved the cluster. It is what the next change is judged against, and what drift is measured from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import yaml
from pydantic import ValidationError

from provisioner.model.artifact import ArtifactLock, LockedArtifact
from provisioner.model.cluster import Cluster, SshOverride
from provisioner.model.trial import Trial

HOST_PATH = "/etc/kubewright/cluster.yaml"
SCHEMA_VERSION = 1
_HEADER = "# What `kubewright up` last made this cluster from. Written by it after its last proof; do not edit.\n"
# How one machine logs in, who may read the secrets and which way bytes take, is not what the cluster is made of.
_NOT_APPLIED = ("ssh", "operators", "lab", "gates", "artifacts")
# What an inventory need not say, and most do not: not there in the record where it is nothing, or as it always was.
_OUTSIDE = ("registries", "proxy", "time", "trust", "firewall")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class NotApplied(ValueError):
    """The text is not one of ours: edited by hand, torn, or of a version that we do not know."""


@dataclass(frozen=True)
class Applied:
    """An inventory and a lock that a cluster was once made from; with a `trial`, what its control planes behave as.

    Its nodes may be of an older Kubernetes than its control planes: the lock says which.
    """

    cluster: Cluster
    lock: ArtifactLock
    trial: Trial | None = None

    @property
    def nodes(self) -> str:
        """Return the version of kubelets and kube-proxies; "" where the lock has none."""
        return next((a.version for a in self.lock.artifacts if a.name == "kubelet"), "")

    def to_text(self) -> str:
        """Return the document; equal inputs give equal bytes."""
        document = {"schema_version": SCHEMA_VERSION, "cluster": _cluster(self.cluster),
                    "artifacts": [artifact.to_json() for artifact in self.lock.artifacts]}
        document |= {"trial": self.trial.to_json()} if self.trial else {}
        text = yaml.dump(document, Dumper=_DUMPER, sort_keys=False, default_flow_style=None, width=10_000)
        return _HEADER + str(text)


@lru_cache(maxsize=4)       # a run reads the same record of every control plane, again and again
def from_text(text: str) -> Applied:
    """Return what `to_text` wrote; NotApplied for anything else."""
    try:
        document = yaml.load(text, Loader=_LOADER)  # noqa: S506 - a safe loader
        if document["schema_version"] != SCHEMA_VERSION:
            raise NotApplied(f"schema_version {document['schema_version']} is not {SCHEMA_VERSION}")
        cluster = Cluster.model_validate_json(json.dumps(document["cluster"]), strict=True)
        return Applied(cluster, ArtifactLock(tuple(LockedArtifact(**entry) for entry in document["artifacts"])),
                       Trial.of(document["trial"]) if "trial" in document else None)
    except (yaml.YAMLError, ValidationError, KeyError, TypeError) as fault:
        raise NotApplied(str(fault).splitlines()[0] if str(fault) else type(fault).__name__) from None


def digest(source: Cluster | ArtifactLock) -> str:
    """Return a digest of what an inventory or a lock means; comments and the order of keys do not count."""
    document: object = source.model_dump(mode="json") if isinstance(source, Cluster) else [
        asdict(a) for a in sorted(source.artifacts, key=lambda a: (a.arch, a.name))]
    return "sha256:" + hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def logins_text(current: Cluster, applied: Cluster, before: Mapping[str, SshOverride]) -> str:
    """Return what to remember of hosts' own logins: the inventory's, and those of hosts that have left it (`before`).

    It stays on this machine: it names keys that lie here, and a change of it is none of the cluster.
    """
    logins = {name: login for name, login in before.items() if name in applied.hosts}
    logins |= {name: spec.ssh for name, spec in current.hosts.items()}
    own = {name: login.model_dump(exclude_none=True) for name, login in logins.items()}
    return str(yaml.dump({name: login for name, login in own.items() if login}, Dumper=_DUMPER))


def logins_from(text: str) -> dict[str, SshOverride]:
    """Return what `logins_text` wrote; NotApplied for anything else."""
    try:
        document = yaml.load(text, Loader=_LOADER)  # noqa: S506 - a safe loader
        return {str(name): SshOverride.model_validate(login) for name, login in document.items()}
    except (yaml.YAMLError, ValidationError, AttributeError) as fault:
        raise NotApplied(str(fault).splitlines()[0] if str(fault) else type(fault).__name__) from None


def with_logins(applied: Cluster, current: Cluster, left: Mapping[str, SshOverride]) -> Cluster:
    """Return the applied cluster reached as the inventory says now; a host that left it, as it was reached (`left`)."""
    own = dict(left) | {name: spec.ssh for name, spec in current.hosts.items()}
    hosts = {name: spec.model_copy(update={"ssh": own.get(name, spec.ssh)}) for name, spec in applied.hosts.items()}
    logins = {name: getattr(current, name) for name in _NOT_APPLIED}
    return applied.model_copy(update={**logins, "hosts": hosts})


def _cluster(cluster: Cluster) -> dict[str, Any]:
    unsaid = {name for name in _OUTSIDE if getattr(cluster, name) == Cluster.model_fields[name].default}
    document = cluster.model_dump(mode="json", exclude={*_NOT_APPLIED, *unsaid, "hosts"})
    hosts = {name: spec.model_dump(mode="json", exclude={"ssh"}) for name, spec in cluster.hosts.items()}
    return document | {"hosts": {name: {k: v for k, v in host.items() if v or k == "roles"}
                                 for name, host in hosts.items()}}
