"""One run's belongings: connections, secrets, run directory, and the way to the cluster's APIs."""

from __future__ import annotations

import datetime as dt
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from provisioner.artifacts.lockfile import load_lock
from provisioner.compile import pki as table
from provisioner.decide.batches import Limit
from provisioner.errors import GateFailed, Interrupted, KubewrightError, Unreachable
from provisioner.files import write_whole
from provisioner.model.artifact import ArtifactLock
from provisioner.model.cluster import Cluster, Host, Role
from provisioner.model.desired import Certificate
from provisioner.model.events import Emit, Event
from provisioner.model.inventory import Inventory
from provisioner.model.observed import HostObserved
from provisioner.model.plan import Change, Plan
from provisioner.model.ports import ETCD_CLIENT, LOCAL_API
from provisioner.model.run import Origin
from provisioner.operate import pki
from provisioner.operate.access import Access
from provisioner.operate.kube import Kube
from provisioner.operate.secrets import SecretStore
from provisioner.orchestrate.session import rundir
from provisioner.parallel import waited_for
from provisioner.transport.faults import FORBIDDEN
from provisioner.transport.hosts import Hosts, Way
from provisioner.transport.pool import Pool, raise_all
from provisioner.transport.remote import SshHosts
from provisioner.transport.target import targets_of

NO_ACCESS = "no-api"
BREAK_GLASS_LIFE = dt.timedelta(minutes=10)
T = TypeVar("T")


class NobodyThere(GateFailed):
    """No control plane gives access to the cluster, since none could be logged in to."""

    exit_code = Unreachable.exit_code


class Abandoned(Interrupted):
    """A phase beside this one has ended the run."""


Files = tuple[Path, Path, Path]
"""CA certificate, certificate and key, as paths."""


@dataclass
class Session:
    """Everything a phase may use; opened by a verb, closed whatever happens.

    `observed` and `plan` are set by the survey. What stands in `safe_points` is called between phases and between
    batches; it raises a KubewrightError to stop the run there. Credentials lie 0600 in the run directory and are
    removed at the end. `applied` are the changes (host, kind, path) that hosts have made in this run, some in the turn
    of an earlier phase. `doing` and `ahead` say what is worked on until the next safe point, and which hosts wait for
    it, together for all phases that run beside one another; `in_flight` are (host, id) of the steps that have not
    answered yet; `go_on` is the command for a person to go on with after a stop. While the run holds the cluster's
    lock, `epoch` is its number in every order to a host, and `still_ours` raises LockHeld when it does not hold it any
    more: to be called right before an act that no host can refuse (on the API, etcd, HAProxy). `written` are the hosts
    that this run handed changes to, `rolled_back` those that run what they kept and not what is desired. `not_kept`
    says why the run's events are not recorded here any more, where they are not. `allowed` are the words after
    `--allow`; `foreign` says of hosts which other cluster they belong to, and what to do about it. Hosts in
    `unreachable` are not worked on; those that this run gave up itself are in `failed`. `narrowed` says that not all of
    what differs is in the plan; `made` counts the changes that were made, and `noting` says that control planes are
    told of this run (journal.py). `proved` are the gates' probes that were seen to hold on each host since anything was
    done. `waits_for_cni` are the nodes that are not Ready for want of a Pod network which the inventory leaves to
    others.
    """

    inventory: Inventory
    emit: Emit
    run_id: str
    run_dir: Path
    hosts: Hosts
    secrets: SecretStore
    artifacts: ArtifactLock
    observed: dict[str, HostObserved] = field(default_factory=dict)
    unreachable: dict[str, KubewrightError] = field(default_factory=dict)
    plan: Plan | None = None
    max_unavailable: Limit = field(default_factory=Limit)
    applied: set[tuple[str, str, str]] = field(default_factory=set)
    written: set[str] = field(default_factory=set)
    rolled_back: set[str] = field(default_factory=set)
    safe_points: list[Callable[[], None]] = field(default_factory=list)
    origin: Origin = field(default_factory=Origin)
    options: dict[str, object] = field(default_factory=dict)
    in_flight: set[tuple[str, str]] = field(default_factory=set)
    go_on: str = ""
    epoch: int | None = None
    still_ours: Callable[[], None] = lambda: None
    failed: dict[str, KubewrightError] = field(default_factory=dict)
    narrowed: bool = False
    not_kept: str = ""
    allowed: tuple[str, ...] = ()
    foreign: dict[str, tuple[str, str]] = field(default_factory=dict)
    proved: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    waits_for_cni: tuple[str, ...] = ()
    made: int = 0
    noting: bool = False
    abandoned: threading.Event = field(default_factory=threading.Event)
    lock: threading.RLock = field(default_factory=threading.RLock)  # of what phases beside one another add to
    _turns: dict[int, tuple[str, tuple[str, ...]]] = field(default_factory=dict)    # by thread
    _stack: ExitStack = field(default_factory=ExitStack)
    _kube: Kube | None = None
    _tunnels: dict[str, Way] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.go_on = f"kubewright resume {self.run_id}"

    @property
    def cluster(self) -> Cluster:
        return self.inventory.cluster

    @property
    def the_plan(self) -> Plan:
        """Return the plan; asking before the survey is our bug."""
        if self.plan is None:
            raise KubewrightError("a phase ran before the survey")
        return self.plan

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        if e is not None and not isinstance(e, Exception):
            self.hosts.close()      # an interrupt: what else is closed here must not wait for a host's word
        try:
            self._stack.close()
        finally:
            self.hosts.close()
            shutil.rmtree(self.run_dir / rundir.CREDENTIALS, ignore_errors=True)

    def tell(self, type_: str, **fields: object) -> None:
        """Emit an event of this run, now."""
        self.emit(Event(type_, time.time(), **fields))  # type: ignore[arg-type]

    def tell_waiting(self, total: int, missing: Sequence[str]) -> None:
        """Tell which hosts have not answered yet; without words that all have."""
        self.tell("waiting", message=waited_for(total, missing))

    @property
    def workers(self) -> tuple[str, ...]:
        """Return the hosts that are workers and nothing else: what may be worked on several at a time."""
        return tuple(h.name for h in self.cluster.machines if h.roles == {Role.WORKER})

    @property
    def at_once(self) -> int:
        """Return how many workers may be worked on together."""
        return self.max_unavailable.of(len(self.workers))

    @property
    def is_whole(self) -> bool:
        """Say whether this run does all that the inventory asks for, on every host."""
        return not self.narrowed and not self.unreachable

    def changes(self, phase: str) -> dict[str, tuple[Change, ...]]:
        """Return the plan's changes of a phase by host, without those that were made and hosts that were given up."""
        left = {h: tuple(c for c in of_host if (c.host, c.kind, c.path) not in self.applied)
                for h, of_host in self.the_plan.of(phase).items() if h not in self.unreachable}
        return {h: of_host for h, of_host in left.items() if of_host}

    def state_of(self, host: str, unit: str) -> str:
        """Return a unit's state as it was observed."""
        return self.observed[host].state("unit", unit)

    def safe_point(self) -> None:
        """Give the word to all who watch the run, when nothing is half done: any of them may end the run by raising."""
        self.stay()
        for watcher in self.safe_points:
            watcher()

    def stay(self) -> None:
        """Raise Abandoned where a phase beside this one has ended the run: asked by whoever only waits."""
        if self.abandoned.is_set():
            raise Abandoned("Stopped.")

    def turn(self, doing: str, ahead: Sequence[str] = ()) -> None:
        """Note what this thread works on until the next safe point, nothing where it has ended, and who comes after."""
        with self.lock:
            self._turns[threading.get_ident()] = doing, tuple(ahead)

    @property
    def doing(self) -> str:
        with self.lock:
            return ", ".join(dict.fromkeys(doing for doing, _ in self._turns.values() if doing))

    @property
    def ahead(self) -> tuple[str, ...]:
        with self.lock:
            return tuple(dict.fromkeys(host for _, ahead in self._turns.values() for host in ahead))

    def reachable(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return those of `names` that were observed."""
        return tuple(n for n in names if n in self.observed)

    def answering(self, hosts: Sequence[Host]) -> list[str]:
        """Return the names of those hosts that have not been found unreachable in this run."""
        return [h.name for h in hosts if h.name not in self.unreachable]

    def kube(self) -> Kube:
        """Return a client of the API as kubernetes-admin, through SSH to the first control plane that answers.

        The credentials are read from that host, so whoever may become root there needs nothing else.
        """
        with self.lock:
            if self._kube is None:
                self._kube = self._open_kube(self.admin_files(), self.answering(self.cluster.control_planes))
            return self._kube

    def fresh_kube(self) -> Kube:
        """Return a client like `kube`'s on a way of its own: for another thread, or when that way may be broken."""
        return self._open_kube(self.admin_files(), self.answering(self.cluster.control_planes))

    def admin_files(self) -> Files:
        """Fetch kubernetes-admin's certificate and key from a control plane into this run's credentials."""
        return self._fetch_credentials("admin", table.CA, table.ADMIN.path, table.ADMIN.key_path,
                                       self.answering(self.cluster.control_planes))

    def cluster_ca(self) -> bytes:
        """Return the cluster CA's certificate as a control plane has it; GateFailed where none does."""
        hosts = self.answering(self.cluster.control_planes)
        return self._on_first(hosts, lambda host: self.hosts.on(host).read((table.CA,)))[0]

    def forget_credentials(self) -> None:
        """Let the next use fetch them from the hosts anew: this run replaces those that no longer let us in."""
        with self.lock:
            self._forget()

    def _forget(self) -> None:
        self._kube = None
        for file in (*self._credential_files("admin"), *self._credential_files("etcd")):
            file.unlink(missing_ok=True)

    def break_glass(self) -> Kube:
        """Return a client in system:masters for the first RBAC binding; its certificate lives 10 minutes."""
        item = Certificate(path="", phase="access", key_path="", ca="cluster", common_name="kubewright-bootstrap",
                           organization="system:masters", client=True)
        ca = self.secrets.ca("cluster")
        pair = pki.issue(item, ca, BREAK_GLASS_LIFE)
        files = self._write_credentials("break-glass", ca.certificate, pair.certificate, pair.key)
        return self._open_kube(files, self.answering(self.cluster.control_planes))

    def etcd_access(self, host: str) -> Access:
        """Return the way to `host`'s own member: a tunnel, and the health client's certificate read over SSH."""
        files = self._fetch_credentials("etcd", table.ETCD_CA, table.ETCD_HEALTH.path, table.ETCD_HEALTH.key_path,
                                        self.answering(self.cluster.etcd_hosts))
        one = self.hosts.on(host)
        if host not in self._tunnels:
            self._tunnels[host] = self._stack.enter_context(one.tunnel(ETCD_CLIENT))
        way = self._tunnels[host]
        return Access(way.address, *files, way.refusal)

    def _open_kube(self, files: Files, hosts: Sequence[str]) -> Kube:
        way = self._on_first(hosts, self._api_way)
        kube = Kube(Access(way.address, *files, way.refusal))
        self._stack.callback(kube.close)
        return kube

    def _api_way(self, host: str) -> Way:
        one = self.hosts.on(host)
        one.require_forwarding(LOCAL_API)
        return self._stack.enter_context(one.tunnel(LOCAL_API))

    def _fetch_credentials(self, name: str, ca: str, cert: str, key: str, hosts: Sequence[str]) -> Files:
        files = self._credential_files(name)
        with self.lock:
            if not all(f.is_file() for f in files):
                data = self._on_first(hosts, lambda host: self.hosts.on(host).read((ca, cert, key)))
                self._write_credentials(name, *data)
        return files

    def _write_credentials(self, name: str, ca: bytes, cert: bytes, key: bytes) -> Files:
        files = self._credential_files(name)
        files[0].parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path, value in zip(files, (ca, cert, key), strict=True):
            write_whole(path, value)
        return files

    def _credential_files(self, name: str) -> Files:
        directory = self.run_dir / rundir.CREDENTIALS
        return directory / f"{name}-ca.crt", directory / f"{name}.crt", directory / f"{name}.key"

    def _on_first(self, hosts: Sequence[str], act: Callable[[str], T]) -> T:
        """Do something on the first host where it works; one error holds every refusal."""
        faults: dict[str, KubewrightError] = {}
        for host in hosts:
            try:
                return act(host)
            except KubewrightError as fault:
                faults[host] = fault
        if any(fault.code == FORBIDDEN for fault in faults.values()):
            raise_all(faults)       # that we cannot look does not mean that there is no cluster
        said = [fault.message for fault in faults.values()]
        if faults and all(isinstance(fault, Unreachable) for fault in faults.values()):
            raise NobodyThere("no control plane answers", details=said, code=NO_ACCESS)
        raise GateFailed("no control plane gives access to the cluster", details=said, code=NO_ACCESS)


def open_session(inventory: Inventory, emit: Emit, *, run: bool) -> Session:
    """Open a session; `run` keeps its directory under runs/, reads use a directory that is removed afterwards.

    Secrets that a killed run left are removed first.

    Raises InventoryRefused for a missing or wrong artifacts.lock; contacts no host yet.
    """
    lock = load_lock(inventory.artifacts_lock_path)
    run_dir, alive = rundir.make(inventory)
    hosts = SshHosts(Pool(targets_of(inventory)))
    session = Session(inventory, emit, run_dir.name, run_dir, hosts, open_store(inventory), lock)
    session._stack.callback(alive.close)
    if not run:
        session.hosts.waiting = session.tell_waiting
        session._stack.callback(shutil.rmtree, run_dir, ignore_errors=True)
    return session


def open_store(inventory: Inventory) -> SecretStore:
    """Return the inventory's secrets, to be opened with the operator's own keys."""
    return SecretStore(inventory.secrets_dir, inventory.operators, inventory.identity_files)
