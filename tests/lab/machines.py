"""The lab's nodes as tests use them: the command line, kubectl, root on every node, and what is read from all."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from provisioner.artifacts.lockfile import load_lock
from provisioner.artifacts.supply import held
from provisioner.lab import nodes
from provisioner.lab.instance import Instance
from provisioner.lab.network import in_network
from provisioner.model.components import ELECTED, units_on
from provisioner.model.endpoint import Endpoint
from provisioner.model.families import DEFAULT
from provisioner.model.inventory import Inventory

ROOT = Path(__file__).resolve().parent.parent.parent
SHIPPED = ROOT / "inventories" / "lab"
LAB = Inventory.open(SHIPPED).cluster
NODES = tuple(host.name for host in LAB.machines)
ADDRESSES = {host.name: host.address for host in LAB.control_planes}
CONTROL_PLANES = tuple(ADDRESSES)
LEADERS = ELECTED
# Those of a control plane, which has every service; its system and its inventory ask for no others.
UNITS = tuple(unit.removesuffix(".service") for unit in units_on(LAB, LAB.control_planes[0], DEFAULT)
              if unit.endswith(".service"))
# What root finds after a login: nothing of whoever runs the tests.
ROOTS = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}


class Lab:
    """The command line, kubectl, and root on every node, for one copy of the lab's inventory."""

    def __init__(self, directory: Path, name: str, hosts: Sequence[str] = NODES) -> None:
        self.directory = directory
        text = (SHIPPED / "cluster.yaml").read_text(encoding="utf-8").replace("cluster: lab\n", f"cluster: {name}\n")
        directory.mkdir(parents=True, exist_ok=True)
        self.file = directory / "cluster.yaml"
        others = tuple(f"  {host}:" for host in NODES if host not in hosts)
        self.file.write_text("".join(line for line in text.splitlines(keepends=True) if not line.startswith(others)),
                             encoding="utf-8")
        shutil.copy(SHIPPED / "artifacts.lock", directory)

    @property
    def inventory(self) -> Inventory:
        """Return the inventory as the code reads it: for what is done to the lab from outside (faults)."""
        return Inventory.open(self.directory)

    def argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "provisioner.cli.main", "-i", str(self.directory), *arguments]

    def run(self, *arguments: str, timeout: float = 600, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a kubewright verb; its whole output is in the failure when it should have succeeded."""
        done = subprocess.run(self.argv(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=timeout,
                              errors="surrogateescape", check=False)
        assert not check or done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a verb as the leader of a process group of its own; it hears Ctrl-C as at a terminal."""
        return subprocess.Popen(self.argv(*arguments), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                text=True, errors="surrogateescape", start_new_session=True, preexec_fn=_hears_ctrl_c)

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run("-o", "json", *arguments).stdout)

    @property
    def instance(self) -> Instance:
        """Return the lab instance that the inventory names; read from its one line, since it is asked for so often."""
        found = re.search(r"^cluster: (\S+)$", self.file.read_text(encoding="utf-8"), re.MULTILINE)
        assert found, f"{self.file} names no cluster"
        return Instance(found[1])

    def entered(self, host: str, *command: str) -> tuple[str, ...]:
        """Return `command` as one that root runs in the node: no login and no Python in between, so it takes no time.

        It is in none of the node's control groups; where that matters, log in.
        """
        init = nodes.init_pid(self.instance, host)
        assert init is not None, f"{host} does not run"
        return nodes.entered(init, command)

    def on(self, host: str, *command: str, check: bool = True, timeout: float = 120) -> str:
        """Run a command as root in a node, also in one whose network is cut, and return what it printed."""
        done = subprocess.run(self.entered(host, *command), capture_output=True, text=True, timeout=timeout,
                              errors="surrogateescape", check=False, env=ROOTS)
        assert not check or done.returncode == 0, f"{host}: {command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def logged_in(self, host: str, *command: str) -> str:
        """Run a command over SSH, as root of a login of the node's own, and return what it printed."""
        return self.run("lab", "exec", host, "--", *command).stdout

    def kubectl_call(self, *arguments: str) -> tuple[str, ...]:
        """Return a call of the cluster's own kubectl on this machine, inside the lab's network, against the VIP."""
        config = self.directory / "kubeconfig"
        if not config.is_file():
            self.run("kubeconfig", "--output", str(config))
        return in_network(self.instance, (str(self.kubectl_path), "--kubeconfig", str(config), *arguments))

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True, timeout: float = 120) -> str:
        """Run kubectl and return what it printed."""
        done = subprocess.run(self.kubectl_call(*arguments), cwd=ROOT, input=stdin, capture_output=True, text=True,
                              errors="surrogateescape", timeout=timeout, check=False)
        assert not check or done.returncode == 0, f"kubectl {arguments}: {done.stdout}\n{done.stderr}"
        return done.stdout

    @property
    def kubectl_path(self) -> Path:
        path = self.directory / "kubectl"
        if not path.exists():
            lock = load_lock(self.directory / "artifacts.lock")
            shutil.copy(held(lock)[lock.get("kubectl", "amd64").sha256], path)
            path.chmod(0o755)
        return path

    def has_booted(self) -> bool:
        """Say whether systemd has nothing left to start on any node, and an API server is ready; next to no work."""
        cluster = self.inventory.cluster
        if any(self.on(host.name, "systemctl", "list-jobs", "--no-legend", check=False) for host in cluster.machines):
            return False
        return self.asked(cluster.api_endpoint) == 200

    def asked(self, endpoint: Endpoint) -> int:
        """Return what /readyz there answers, 0 for nothing."""
        ready = ("curl", "-sk", "--max-time", "2", "-o", "/dev/null", "-w", "%{http_code}", f"https://{endpoint}/readyz")
        return int(subprocess.run(in_network(self.instance, ready), capture_output=True, text=True, timeout=30,
                                  check=False).stdout or 0)

    def release_leaders(self) -> None:
        """Stop what elects one that acts, and let nobody hold its lease: who starts next need not wait until it is old.

        None of them releases its lease when it ends. Nobody knows metrics-server's addresses either: an API server that
        starts would ask there first, and is not ready until nobody has answered for 2 s.
        """
        for host in self.inventory.cluster.control_planes:
            self.on(host.name, "systemctl", "stop", *LEADERS)
        for lease in LEADERS:
            self.kubectl("--namespace=kube-system", "patch", "lease", lease, "--type=merge",
                         '--patch={"spec": {"holderIdentity": ""}}')
        self.kubectl("--namespace=kube-system", "delete", "endpointslices", "--wait=false",
                     "--selector=kubernetes.io/service-name=metrics-server")

    def reset(self) -> None:
        """Give every node an empty disk, and forget the CA that no cluster has any more."""
        self.run("lab", "reset")
        shutil.rmtree(self.directory / ".kubewright" / "secrets", ignore_errors=True)
        self.forget_credentials()

    def forget_credentials(self) -> None:
        """Let the next kubectl fetch its own anew: they may be of a cluster that is gone."""
        (self.directory / "kubeconfig").unlink(missing_ok=True)

    def newest_run(self, after: float) -> Path | None:
        """Return the events of the run that told something last; names do not tell of two that began in one second."""
        runs = (self.directory / ".kubewright" / "runs").glob("*/events.jsonl")
        newest = max(runs, key=lambda run: run.stat().st_mtime, default=None)
        return newest if newest is not None and newest.stat().st_mtime >= after else None

    def events(self, after: float = 0) -> list[dict[str, Any]]:
        """Return what the newest run told so far, nothing where none told anything since `after`."""
        file = self.newest_run(after)
        return events_of(file) if file else []


def events_of(file: Path) -> list[dict[str, Any]]:
    """Return the events in a run's file; a line that is half written is left out."""
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _hears_ctrl_c() -> None:
    """Undo what a shell does to what it starts in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def until(look: Any, timeout: float, what: str, interval: float = 0.25) -> Any:
    """Poll until `look` returns something true, and return it; each look takes its share of the nodes' processor."""
    end = time.monotonic() + timeout
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < end, f"not in {timeout} s: {what}"
        time.sleep(interval)


def unit_ids(lab: Lab, hosts: Sequence[str] = NODES) -> dict[str, str]:
    """Return the InvocationID of every unit of ours on every host: equal means not restarted."""
    return {host: lab.on(host, "systemctl", "show", "-p", "InvocationID", "-p", "Id", *UNITS) for host in hosts}


def managed_mtimes(lab: Lab, hosts: Sequence[str] = NODES) -> dict[str, str]:
    """Return inode and mtime of everything below the directories that we write."""
    places = ("/etc/kubernetes", "/etc/kubewright", "/etc/systemd/system", "/etc/haproxy", "/etc/containerd",
              "/opt/kubewright", "/usr/local/bin", "/var/lib/kubelet/config.yaml", "/etc/sysctl.d")
    return {host: lab.on(host, "find", *places, "-printf", "%p %i %T@\\n", check=False) for host in hosts}
