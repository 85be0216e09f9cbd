"""All that `doctor` has seen at one moment: what its judges decide from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from provisioner.errors import KubewrightError
from provisioner.model.cluster import Cluster
from provisioner.model.etcd import EtcdReads, EtcdStatus
from provisioner.model.examination import Examination
from provisioner.operate.haproxy import Servers
from provisioner.operate.snapshots import Newest

Samples = Mapping[str, Mapping[str, Sequence[tuple[float, int]]]]
"""By host, by the first directory of a file system: when it was looked at, and how many bytes were in use."""


@dataclass(frozen=True)
class Picture:
    """What was seen; a host that is missing in one of these was not asked, or its fault stands there instead.

    `servers` is how each host's HAProxy sees the API servers, None where it does not answer. `nodes`, `pods` (of
    kube-system) and `version` are the API's: None where it was not seen. `clocks` is by how much each clock is off
    ours, `certificates` how many days each lasts, `samples` how full disks were at earlier looks.
    """

    cluster: Cluster
    now: float
    examined: Mapping[str, Examination | KubewrightError] = field(default_factory=dict)
    members: Mapping[str, EtcdStatus | KubewrightError] = field(default_factory=dict)
    reads: Mapping[str, EtcdReads] = field(default_factory=dict)
    servers: Mapping[str, Servers | None] = field(default_factory=dict)
    nodes: Mapping[str, Mapping[str, Any]] | None = None
    pods: Sequence[Mapping[str, Any]] | None = None
    version: str | None = None
    clocks: Mapping[str, float] = field(default_factory=dict)
    certificates: Mapping[tuple[str, str], float] = field(default_factory=dict)     # host, path -> days left
    samples: Samples = field(default_factory=dict)
    snapshots: Newest | None = None                 # None: not asked for

    @property
    def hosts(self) -> Mapping[str, Examination]:
        """Return what was seen of the hosts that could be examined."""
        return {host: seen for host, seen in self.examined.items() if isinstance(seen, Examination)}
