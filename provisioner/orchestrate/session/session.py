"""What a phase gets: the run that goes on, the cluster that it works towards, and the ways to its APIs."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from provisioner.artifacts.lockfile import load_lock
from provisioner.compile.parts import INPUTS_DIR
from provisioner.decide.schedule import stages
from provisioner.errors import KubewrightError
from provisioner.model import families, managers
from provisioner.model.applied import Applied
from provisioner.model.artifact import ArtifactLock
from provisioner.model.cluster import Cluster, Host, Role
from provisioner.model.desired import EtcdMember
from provisioner.model.events import Emit
from provisioner.model.inventory import Inventory
from provisioner.model.observed import ABSENT, HostObserved, ObservedItem, UnitState
from provisioner.model.phases import PhaseName
from provisioner.model.plan import Change, Plan
from provisioner.model.trial import Trial
from provisioner.operate.secrets import SecretStore
from provisioner.orchestrate.session import rundir
from provisioner.orchestrate.session.cluster_access import ClusterAccess
from provisioner.orchestrate.session.cluster_target import ClusterTarget
from provisioner.orchestrate.session.live_run import LiveRun
from provisioner.transport.hosts import Hosts
from provisioner.transport.pool import Pool
from provisioner.transport.remote import SshHosts
from provisioner.transport.target import targets_of


@dataclass
class Session:
    """A run, one cluster that it works towards, and the ways to that cluster's APIs; opened by a verb.

    What phases ask for most is given here as well; what only the engine needs is asked of the three.
    """

    run: LiveRun
    target: ClusterTarget
    access: ClusterAccess

    @classmethod
    def of(cls, run: LiveRun, target: ClusterTarget) -> Self:
        """Return the session of a run and what it works towards."""
        return cls(run, target, ClusterAccess(run, target))

    @property
    def cluster(self) -> Cluster:
        return self.target.cluster

    @property
    def hosts(self) -> Hosts:
        return self.run.hosts

    @property
    def observed(self) -> dict[str, HostObserved]:
        return self.target.observed

    def system_of(self, host: str) -> families.System:
        """Return the row of a host's system; the default's where the host was not observed."""
        return families.of_facts(self.observed[host].facts) if host in self.observed else families.DEFAULT

    def manager_of(self, host: str) -> managers.Manager:
        """Return the package manager of a host; the default system's where the host was not observed."""
        known = self.observed.get(host)
        return managers.of_facts(known.facts) if known else managers.BY_NAME[families.DEFAULT.manager]

    @property
    def unreachable(self) -> dict[str, KubewrightError]:
        return self.run.unreachable

    @property
    def plan(self) -> Plan | None:
        return self.target.plan

    @property
    def the_plan(self) -> Plan:
        """Return the plan; asking before the survey is our bug."""
        if self.plan is None:
            raise KubewrightError("a phase ran before the survey")
        return self.plan

    def towards(self, inventory: Inventory, artifacts: ArtifactLock) -> Self:
        """Return a session of this same run on another target; its hosts are reached over the run's connections.

        So may hosts that are in no inventory any more: as the one that names them says.
        """
        self.hosts.also_reach(targets_of(inventory))
        target = ClusterTarget(inventory, artifacts, self.target.secrets)
        return replace(self, target=target, access=self.access.to(target))

    def as_applied(self, inventory: Inventory, applied: Applied) -> Self:
        """Return a session of this same run on what was applied, `inventory` being that of it."""
        found = self.towards(inventory, applied.lock)
        found.target.trial, found.target.asked, found.target.follows = applied.trial, applied, False
        return found

    def turn_to(self, inventory: Inventory, artifacts: ArtifactLock, trial: Trial | None = None) -> None:
        """Let this run work towards something else from here on: a part of the way to what is asked for, or back."""
        self.hosts.also_reach(targets_of(inventory))
        self.target = ClusterTarget(inventory, artifacts, self.target.secrets, trial=trial,
                                    asked=self.target.made_from, follows=False)
        self.access = self.access.to(self.target)

    def go_by(self, plan: Plan) -> Plan:
        """Let this be the plan from here on, with its stages as this run takes them, and return it; the one writer.

        A survey makes it, what judges or narrows it makes another, and so does what a phase finds moved by its own act.
        """
        self.target.plan = replace(plan, stages=stages(plan, self.workers, self.at_once))
        return self.the_plan

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.run.close(e)

    def tell(self, type_: str, **fields: object) -> None:
        """Emit an event of this run, now."""
        self.run.tell(type_, **fields)

    @property
    def workers(self) -> tuple[str, ...]:
        """Return the hosts that are workers and nothing else: what may be worked on several at a time."""
        return tuple(h.name for h in self.cluster.machines if h.roles == {Role.WORKER})

    @property
    def members(self) -> tuple[str, ...]:
        """Return the hosts whose etcd members vote now, as far as this run knows."""
        there = [h.name for h in self.cluster.etcd_hosts if h.name not in self.target.joining]
        return (*there, *(h for h in sorted(self.target.still_members) if h not in there))

    @property
    def joining_urls(self) -> tuple[str, ...]:
        """Return the peer addresses of the members that are to vote and do not yet."""
        return tuple(EtcdMember(h.name, h.address).peer_url for h in self.cluster.etcd_hosts
                     if h.name in self.target.joining)

    @property
    def api_servers(self) -> tuple[str, ...]:
        """Return the control planes whose API server was ever started; a host that is new has none yet."""
        return tuple(h.name for h in self.cluster.control_planes if self.has_begun(h.name, "kube-apiserver.service"))

    def has_begun(self, host: str, unit: str) -> bool:
        """Say whether a unit may run by now as we want it: it was not seen to be absent, or was started by this run.

        A package brings a unit that is none of ours yet; what it starts with is listed on its host before we start it.
        A first start that was killed may have left a unit of ours that was never started.
        """
        if (host, "unit", unit) in self.target.done:
            return True
        seen = self.observed[host].items if host in self.observed else {}
        there = seen.get(("unit", unit))
        items = (there, seen.get(("file", f"{INPUTS_DIR}/{unit}")))
        return all(item is None or item.state != ABSENT for item in items) and not _waits_for_its_first_start(there)

    @property
    def at_once(self) -> int:
        """Return how many workers may be worked on together."""
        return self.run.max_unavailable.of(len(self.workers))

    @property
    def is_whole(self) -> bool:
        """Say whether this run does all that the inventory asks for, on every host."""
        asked_for = self.unreachable.keys() - self.target.leaving.keys()
        return not self.target.narrowed and not asked_for - self.run.not_looked_at

    def changes(self, phase: PhaseName) -> dict[str, tuple[Change, ...]]:
        """Return the plan's changes of a phase by host, without those that were made and hosts that were given up."""
        left = {h: tuple(c for c in of_host if (c.host, c.kind, c.path) not in self.target.done)
                for h, of_host in self.the_plan.of(phase).items() if h not in self.unreachable}
        return {h: of_host for h, of_host in left.items() if of_host}

    def state_of(self, host: str, unit: str) -> str:
        """Return a unit's state as it was observed."""
        return self.observed[host].state("unit", unit)

    def reachable(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return those of `names` that were observed."""
        return tuple(n for n in names if n in self.observed)

    def answering(self, hosts: Sequence[Host]) -> list[str]:
        """Return the names of those hosts that have not been found unreachable in this run."""
        return self.run.answering(hosts)


def _waits_for_its_first_start(seen: ObservedItem | None) -> bool:
    """Say whether a unit is there, not enabled, and was not started since its host booted: what starts one enables it.
    """
    if seen is None:
        return False
    state = UnitState.of(seen.state)
    return (state.active == "inactive" and not (state.is_enabled or state.is_current)
            and not seen.extra.get("causes"))


def open_session(inventory: Inventory, emit: Emit, *, run: bool, lock: ArtifactLock | None = None) -> Session:
    """Open a session; `run` keeps its directory under runs/, reads use a directory that is removed afterwards.

    Secrets that a killed run left are removed first. `lock` is of who plans before there is an artifacts.lock.

    Raises InventoryRefused for a missing or wrong artifacts.lock; contacts no host yet.
    """
    lock = lock or load_lock(inventory.artifacts_lock_path)
    run_dir, alive = rundir.make(inventory)
    live = LiveRun(run_dir.name, run_dir, SshHosts(Pool(targets_of(inventory))), emit)
    live.closing.callback(alive.close)
    if not run:
        live.hosts.waiting = live.tell_waiting
        live.closing.callback(shutil.rmtree, run_dir, ignore_errors=True)
    return Session.of(live, ClusterTarget(inventory, lock, open_store(inventory)))


def open_store(inventory: Inventory) -> SecretStore:
    """Return the inventory's secrets, to be opened with the operator's own keys."""
    return SecretStore(inventory.secrets_dir, inventory.operators, inventory.identity_files)
