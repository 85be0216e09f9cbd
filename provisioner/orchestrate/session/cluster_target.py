"""What a cluster is to be and what it is: one inventory, what was seen of its hosts, and the plan between the two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from provisioner.model.applied import Applied
from provisioner.model.artifact import ArtifactLock
from provisioner.model.cluster import Cluster, HostSpec
from provisioner.model.inventory import Inventory
from provisioner.model.observed import HostObserved
from provisioner.model.plan import Plan
from provisioner.model.snapshot import Restore
from provisioner.model.trial import Trial
from provisioner.operate.secrets import SecretStore


@dataclass
class ClusterTarget:
    """One thing that a run works towards, or measures against; a run may hold several.

    `observed` is set by the survey. `narrowed` says that not all of what differs is in the plan; `done` are the changes
    (host, kind, path) of it that hosts have made, some in the turn of an earlier phase. `foreign` says of hosts which
    other cluster they belong to, and what to do about it. `proved` are the gates' probes that were seen to hold on each
    host since anything was done. `waits_for_cni` are the nodes that are not Ready for want of a Pod network which the
    inventory leaves to others. `holds_nodes` says whether a first start leaves the nodes of all control planes but the
    first to its last part, once that is decided. `joining` are the hosts whose etcd member is to vote and does not yet.
    `restore` is what etcd's data is to be put back to, in a run that does that.
    `leaving` are hosts that left the inventory and are taken out, `former` those that stay and are to have no etcd
    member any more, `still_members` those of both whose member still votes.
    `boots_before` are the boots in which a roll of operating systems found its hosts that this run goes on with.
    `replacing` are hosts whose machine is another one now, `replaced` the etcd members of before that are taken out.
    Where it is but a part of the way to what the inventory asks for, that is `asked`: nodes may be older than control
    planes then, and with a `trial` control planes behave as the minor before their own. `follows` says that a trial
    which was applied stays, unless somebody ends it.
    `machine_ids` is which machine each Node says that it was made by, where the API answered.
    """

    inventory: Inventory
    artifacts: ArtifactLock
    secrets: SecretStore
    observed: dict[str, HostObserved] = field(default_factory=dict)
    plan: Plan | None = None
    narrowed: bool = False
    done: set[tuple[str, str, str]] = field(default_factory=set)
    foreign: dict[str, tuple[str, str]] = field(default_factory=dict)
    proved: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    waits_for_cni: tuple[str, ...] = ()
    holds_nodes: bool | None = None
    joining: set[str] = field(default_factory=set)
    restore: Restore | None = None
    leaving: dict[str, HostSpec] = field(default_factory=dict)
    former: dict[str, HostSpec] = field(default_factory=dict)
    still_members: set[str] = field(default_factory=set)
    replacing: tuple[str, ...] = ()
    replaced: dict[str, int] = field(default_factory=dict)
    machine_ids: dict[str, str] = field(default_factory=dict)
    trial: Trial | None = None
    asked: Applied | None = None
    follows: bool = True
    boots_before: Mapping[str, str] = field(default_factory=dict)

    @property
    def applied(self) -> Applied:
        """Return what the cluster is made from when this target is reached."""
        return Applied(self.cluster, self.artifacts, self.trial)

    @property
    def made_from(self) -> Applied:
        """Return what the inventory and artifacts.lock ask for, wherever this target stands on the way there."""
        return self.asked or self.applied

    @property
    def nodes(self) -> str:
        """Return the version of kubelets where it may be another than the inventory's; else nothing."""
        return self.applied.nodes if self.asked else ""

    def follow(self, applied: Applied) -> None:
        """Stay where a minor is on trial: as its record says, whatever artifacts.lock asks for meanwhile."""
        self.asked, self.artifacts, self.trial = self.made_from, applied.lock, applied.trial

    @property
    def reached(self) -> Inventory:
        """Return the inventory of all hosts that are worked on: with those that leave."""
        hosts = {**self.cluster.hosts, **self.leaving}
        return replace(self.inventory, cluster=self.cluster.model_copy(update={"hosts": hosts}))

    @property
    def cluster(self) -> Cluster:
        return self.inventory.cluster
