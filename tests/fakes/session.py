"""A whole run against hosts and an API in memory: session, secrets and inventory are the real ones."""

from __future__ import annotations

import pickle
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from provisioner.compile.kubelet import REGISTRATION
from provisioner.converge import runner
from provisioner.converge.results import HostResult
from provisioner.decide.turns import KUBELET
from provisioner.model.artifact import ArtifactLock, Stored
from provisioner.model.cluster import Cluster
from provisioner.model.events import Event
from provisioner.model.inventory import Inventory
from provisioner.model.plan import Plan
from provisioner.operate import pki
from provisioner.operate.access import Access
from provisioner.operate.kube import Kube
from provisioner.operate.secrets import SecretStore
from provisioner.orchestrate.gates import proofs
from provisioner.orchestrate.plan.survey import create_secrets, survey
from provisioner.orchestrate.run.options import Intent
from provisioner.orchestrate.run.perform import Caller, Performed, perform
from provisioner.orchestrate.run.verb import Consent
from provisioner.orchestrate.session import session as sessions
from provisioner.orchestrate.session.cluster_access import ClusterAccess
from provisioner.orchestrate.session.cluster_target import ClusterTarget
from provisioner.orchestrate.session.live_run import LiveRun
from provisioner.orchestrate.session.session import Session
from provisioner.orchestrate.watch import prober
from tests.fakes.api import MemoryApi, MemoryKube, node
from tests.fakes.host import FakeHost
from tests.fakes.hosts import FakeHosts
from tests.fakes.network import FakeNetwork
from tests.fakes.sampling import Samples
from tests.unit.compile.compile_fixture import LAB, facts_of, lock

UP_ALL = Intent()


def operator_key(path: Path) -> str:
    """Write an Ed25519 key as ssh-keygen does, and return its public line."""
    key = Ed25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()))
    path.chmod(0o600)
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return f"{public.decode()} lab"


@dataclass
class FakeAccess(ClusterAccess):
    """The ways to an API and to etcd that are in memory."""

    world: World = field(kw_only=True)

    def kube(self) -> Kube:
        return self.world.kube()

    def fresh_kube(self) -> Kube:
        return self.world.kube()

    def api_server(self, host: str) -> Kube:
        return self.world.kube()

    def break_glass(self) -> Kube:
        self.world.break_glass += 1
        return MemoryKube(self.world.api)

    def etcd(self, host: str) -> Access:
        return Access((host, 0), Path(), Path(), Path())


@dataclass
class World:
    """Five hosts, an API, an inventory on disk; `session()` is what open_session would give."""

    inventory: Inventory
    hosts: FakeHosts
    api: MemoryApi
    key: Path
    samples: Samples
    events: list[Event] = field(default_factory=list)
    break_glass: int = 0
    sessions: int = 0

    @classmethod
    def make(cls, directory: Path, patch: pytest.MonkeyPatch, **changes: Any) -> World:
        """Make the lab's five hosts, empty; `changes` replace top-level fields of the inventory."""
        key = directory / "id_ed25519"
        inventory = write_inventory(directory, operator_key(key), key=key, **changes)
        hosts = FakeHosts({n: FakeHost(n, f, {("swap", "swap"): "off"})
                           for n, f in facts_of(inventory.cluster).items()}, lock())
        hosts.vip = str(inventory.cluster.api.vip)
        hosts.leader = inventory.cluster.etcd_hosts[0].name
        for balancer in hosts.balancers.values():
            balancer.states = {host.name: "ready" for host in inventory.cluster.control_planes}
        api = MemoryApi()
        return cls(inventory, hosts, api, key, Samples(api)).install(patch)

    def build(self, patch: pytest.MonkeyPatch) -> World:
        """Let this world be as after a first `up`, its logs emptied: a copy of the one built once in this process."""
        files, frozen = first_up()
        directory = self.inventory.path
        for name, (mode, content) in files.items():
            path = directory / name
            path.mkdir() if content is None else path.write_bytes(content)
            path.chmod(mode)
        built: World = pickle.loads(frozen)     # noqa: S301 (what first_up made)
        built.key = self.key
        built.inventory = write_inventory(directory, *built.inventory.operators, key=self.key)
        vars(self).update(vars(built))
        return self.install(patch)

    def install(self, patch: pytest.MonkeyPatch) -> World:
        """Put this world in the place of hosts, API and prober; one RSA key signs in every world (it takes long)."""
        self.hosts.install(patch)
        patch.setattr(sessions, "open_session", self.opened)
        patch.setattr(prober, "Sampling", self.samples)
        patch.setattr(pki, "new_signing_key", signing_key)
        return self

    def session(self, emit: Callable[[Event], None] | None = None, *, run: bool = True) -> Session:
        """Open a session with a fresh run directory."""
        self.sessions += 1
        run_dir = self.inventory.runs_dir / f"run{self.sessions}"
        run_dir.mkdir(parents=True, mode=0o700)
        live = LiveRun(run_dir.name, run_dir, self.hosts, emit or self.events.append)
        target = ClusterTarget(self.inventory, self.hosts.lock, self.secrets())
        return Session(live, target, FakeAccess(live, target, world=self))

    def opened(self, inventory: Inventory, emit: Callable[[Event], None], *, run: bool,
               lock: ArtifactLock | None = None) -> Session:
        """Open a session as open_session does, by the lock that the hosts in memory know."""
        found = self.session(emit, run=run)
        found.target.inventory = inventory
        return found

    def perform(self, intent: Intent = UP_ALL, ask: Callable[[Plan, Consent], bool] = lambda *_: True) -> Performed:
        """Do what a command line would, from the inventory to the proof; events come to `events`."""
        return perform(self.inventory, intent, Caller(ask, lambda session: self.events.append))

    def secrets(self, *keys: Path) -> SecretStore:
        return SecretStore(self.inventory.secrets_dir, self.inventory.operators, keys or (self.key,))

    def kube(self) -> Kube:
        """Answer as the API does: a kubelet that was started has registered and is Ready, leases once someone leads."""
        self.api.lead()
        for name, host in self.hosts.hosts.items():
            path = f"/api/v1/nodes/{name}"
            registers, host.registers = host.registers, False       # first: another thread may start it meanwhile
            if registers and path not in self.api.objects:
                self.api.put(path, registered(name, str(host.extras["file", REGISTRATION]["text"])))
            if path in self.api.objects:
                info = self.api.objects[path]["status"].setdefault("nodeInfo", {})
                info["bootID"] = self.hosts.systems.of(name).boot
            runs = Stored.of_link(host.file(KUBELET))
            if registers and runs:
                self.api.objects[path]["status"]["nodeInfo"]["kubeletVersion"] = f"v{runs.version}"
        return MemoryKube(self.api)

    def forget(self) -> None:
        """Empty the logs, to look at one run alone."""
        self.events.clear()
        self.hosts.log.clear()
        self.hosts.probed.clear()
        self.hosts.network = FakeNetwork()
        for host in self.hosts.hosts.values():
            host.notes.clear()
            host.steps.clear()
        self.api.log.clear()


def registered(name: str, settings: str) -> dict[str, Any]:
    """Return the Node that a kubelet registers, marked as the file says."""
    line = settings.partition('KUBELET_REGISTRATION="')[2].partition('"')[0]
    flags = dict(flag.removeprefix("--").split("=", 1) for flag in line.split())
    labels = dict(label.split("=") for label in flags.get("node-labels", "").split(",") if label)
    taints = [dict(zip(("key", "value", "effect"), (key, *rest.split(":")), strict=True))
              for key, _, rest in (t.partition("=") for t in flags.get("register-with-taints", "").split(",") if t)]
    return node(name, labels=labels) | {"spec": {"taints": taints}}


def write_inventory(directory: Path, operator: str, *, key: Path, **changes: Any) -> Inventory:
    """Write and return the lab's inventory for one operator, who logs in with `key`."""
    text = yaml.safe_load(LAB) | {"lab": False, "operators": [operator],
                                  "ssh": {"user": "admin", "key": str(key)}} | changes
    (directory / "cluster.yaml").write_text(yaml.safe_dump(text, sort_keys=False))
    return Inventory(directory, Cluster.model_validate(text), directory / "cluster.yaml")


@cache
def first_up() -> tuple[dict[Path, tuple[int, bytes | None]], bytes]:
    """Build a world; return what is in its directory (mode, and bytes where it is a file), and the rest pickled."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        directory = Path(name)
        instant(patch)
        world = World.make(directory, patch)
        world.perform()
        world.forget()
        files = {p.relative_to(directory): (stat.S_IMODE(p.stat().st_mode), p.read_bytes() if p.is_file() else None)
                 for p in sorted(directory.rglob("*"))}
        return files, pickle.dumps(world)


signing_key = cache(pki.new_signing_key)


def surveyed_with_secrets(world: World) -> Session:
    """Return a session with its plan and its secrets, where phases may begin."""
    session = world.session()
    survey(session)
    if not session.target.secrets.exists:
        create_secrets(session)
    return session


@contextmanager
def at_each_step(world: World, act: Callable[[], object]) -> Iterator[None]:
    """Let something happen whenever hosts are handed a step, just before they do it."""
    real = world.hosts.apply

    def apply(*args: Any, **rest: Any) -> dict[str, HostResult]:
        act()
        return real(*args, **rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "apply", apply)
        yield


def instant(patch: pytest.MonkeyPatch) -> list[float]:
    """Let waiting take no time: every sleep moves the monotonic clock on; return the sleeps.

    A gate that stays shut is looked at once a second until its deadline: each look costs more than the wait for it.
    """
    sleeps: list[float] = []
    patch.setattr(proofs, "INTERVAL", 1.0)
    start = time.monotonic()
    patch.setattr(time, "sleep", sleeps.append)
    patch.setattr(time, "monotonic", lambda: start + sum(sleeps))
    return sleeps
