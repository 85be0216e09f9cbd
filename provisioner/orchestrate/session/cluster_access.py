"""The ways to a cluster's APIs: credentials of this run, clients of Kubernetes, tunnels to etcd's members."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self, TypeVar

from provisioner.compile import pki as table
from provisioner.errors import GateFailed, KubewrightError, Unreachable
from provisioner.files import write_whole
from provisioner.model.desired import Certificate
from provisioner.model.ports import APISERVER, ETCD_CLIENT, LOCAL_API
from provisioner.operate import pki
from provisioner.operate.access import Access
from provisioner.operate.kube import Kube
from provisioner.orchestrate.session import rundir
from provisioner.orchestrate.session.cluster_target import ClusterTarget
from provisioner.orchestrate.session.live_run import LiveRun
from provisioner.transport.faults import FORBIDDEN
from provisioner.transport.hosts import Way
from provisioner.transport.pool import raise_all

NO_ACCESS = "no-api"
BREAK_GLASS_LIFE = dt.timedelta(minutes=10)
T = TypeVar("T")


class NobodyThere(GateFailed):
    """No control plane gives access to the cluster, since none could be logged in to."""

    exit_code = Unreachable.exit_code


Files = tuple[Path, Path, Path]
"""CA certificate, certificate and key, as paths."""


@dataclass
class ClusterAccess:
    """How a run asks one cluster's APIs, always over SSH, with what its own hosts let an administrator read.

    Credentials lie 0600 in the run's directory, and are removed when the run is closed.
    """

    run: LiveRun
    target: ClusterTarget
    _kube: Kube | None = None
    _tunnels: dict[str, Way] = field(default_factory=dict)
    # Held while hosts are asked; so it is not the run's own, for which Ctrl-C would have to wait.
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def to(self, target: ClusterTarget) -> Self:
        """Return the ways to another target's APIs; credentials are those of the cluster, so they are shared."""
        return replace(self, target=target, _kube=None, _tunnels={})

    def kube(self) -> Kube:
        """Return a client of the API as kubernetes-admin, through SSH to the first control plane that answers.

        The credentials are read from that host, so whoever may become root there needs nothing else.
        """
        with self._lock:
            if self._kube is None:
                self._kube = self._open_kube(self.admin_files(), self.run.answering(self.target.cluster.control_planes))
            return self._kube

    def fresh_kube(self) -> Kube:
        """Return a client like `kube`'s on a way of its own: for another thread, or when that way may be broken."""
        return self._open_kube(self.admin_files(), self.run.answering(self.target.cluster.control_planes))

    def api_server(self, host: str) -> Kube:
        """Return a client of one control plane's own API server, past every load balancer."""
        way = self.run.closing.enter_context(self.run.hosts.on(host).tunnel(APISERVER))
        kube = Kube(Access(way.address, *self.admin_files(), way.refusal))
        self.run.closing.callback(kube.close)
        return kube

    def admin_files(self) -> Files:
        """Fetch kubernetes-admin's certificate and key from a control plane into this run's credentials."""
        return self._fetch_credentials("admin", table.CA, table.ADMIN.path, table.ADMIN.key_path,
                                       self.run.answering(self.target.cluster.control_planes))

    def cluster_ca(self) -> bytes:
        """Return the cluster CA's certificate as a control plane has it; GateFailed where none does."""
        hosts = self.run.answering(self.target.cluster.control_planes)
        return self._on_first(hosts, lambda host: self.run.hosts.on(host).read((table.CA,)))[0]

    def forget_credentials(self) -> None:
        """Let the next use fetch them from the hosts anew: this run replaces those that no longer let us in."""
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        self._kube = None
        for file in (*self._credential_files("admin"), *self._credential_files("etcd")):
            file.unlink(missing_ok=True)

    def break_glass(self) -> Kube:
        """Return a client in system:masters for the first RBAC binding; its certificate lives 10 minutes."""
        item = Certificate(path="", phase="access", key_path="", ca="cluster", common_name="kubewright-bootstrap",
                           organization="system:masters", client=True)
        ca = self.target.secrets.ca("cluster")
        pair = pki.issue(item, ca, BREAK_GLASS_LIFE)
        files = self._write_credentials("break-glass", ca.certificate, pair.certificate, pair.key)
        return self._open_kube(files, self.run.answering(self.target.cluster.control_planes))

    def etcd(self, host: str) -> Access:
        """Return the way to `host`'s own member: a tunnel, and the health client's certificate read over SSH."""
        files = self._fetch_credentials("etcd", table.ETCD_CA, table.ETCD_HEALTH.path, table.ETCD_HEALTH.key_path,
                                        self.run.answering(self.target.cluster.etcd_hosts))
        one = self.run.hosts.on(host)
        if host not in self._tunnels:
            self._tunnels[host] = self.run.closing.enter_context(one.tunnel(ETCD_CLIENT))
        way = self._tunnels[host]
        return Access(way.address, *files, way.refusal)

    def _open_kube(self, files: Files, hosts: Sequence[str]) -> Kube:
        way = self._on_first(hosts, self._api_way)
        kube = Kube(Access(way.address, *files, way.refusal))
        self.run.closing.callback(kube.close)
        return kube

    def _api_way(self, host: str) -> Way:
        one = self.run.hosts.on(host)
        one.require_forwarding(LOCAL_API)
        return self.run.closing.enter_context(one.tunnel(LOCAL_API))

    def _fetch_credentials(self, name: str, ca: str, cert: str, key: str, hosts: Sequence[str]) -> Files:
        files = self._credential_files(name)
        with self._lock:
            if not all(f.is_file() for f in files):
                data = self._on_first(hosts, lambda host: self.run.hosts.on(host).read((ca, cert, key)))
                self._write_credentials(name, *data)
        return files

    def _write_credentials(self, name: str, ca: bytes, cert: bytes, key: bytes) -> Files:
        files = self._credential_files(name)
        files[0].parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path, value in zip(files, (ca, cert, key), strict=True):
            write_whole(path, value)
        return files

    def _credential_files(self, name: str) -> Files:
        directory = self.run.directory / rundir.CREDENTIALS
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
