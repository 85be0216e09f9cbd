"""Nodes of the lab made to look as other people's machines do, and the command line as somebody has it who owns them.

The lab's own inventory boots the nodes and is never `up`ed; what the product gets is an inventory that `init` writes.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from provisioner.artifacts.cache import cache_root
from provisioner.lab.network import in_network
from tests.fakes.ssh_agent import agent_with, locked_key
from tests.fakes.sshd import keygen
from tests.lab.apart import apart
from tests.lab.machines import LAB, NODES, ROOT, Lab

BASTION, BASTION_ADDRESS = "bastion", "10.77.0.31"
USER, VISITOR, PORT, JUMP_PORT = "admin", "visitor", 2222, 2022
PASSWORD = "it's \"nobody's\" \\ % {{ 7 }}"
DOMAIN = "foreign.example.org"
VIP = str(LAB.api.vip)
LOGINS = {host: f"10.99.0.{11 + at}" for at, host in enumerate(NODES)}      # a network that only the bastion is in too
# What nodes of a lab need besides, as inventories/lab says it: they share this machine's kernel, and have no way out.
OF_LAB = """
config:
  kubelet: {failCgroupV1: false}
  kube-proxy: {conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}
  coredns: {upstreams: []}
"""


@dataclass(frozen=True)
class Foreign:
    """The nodes, and the home directory of who owns them, with an agent's socket."""

    lab: Lab
    home: Path
    socket: str
    took: list[float] = field(default_factory=list)     # seconds of the commands that lead to a cluster

    @property
    def directory(self) -> Path:
        """Return the inventory that `init` writes."""
        return self.home / "inventories" / "mine"

    def run(self, *words: str, given: str = "", check: bool = True, timeout: float = 600,
            ) -> subprocess.CompletedProcess[str]:
        """Run the command as its owner does from the home directory; `given` is its stdin."""
        argv = [sys.executable, "-m", "provisioner.cli.main", *words]
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.home), "SSH_AUTH_SOCK": self.socket,
                       "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8", "KUBEWRIGHT_CACHE": str(cache_root()),
                       "KUBEWRIGHT_IDENTITY": str(self.home / "operator")}
        done = subprocess.run(list(in_network(self.lab.instance, argv)), cwd=self.home, input=given, text=True,
                              capture_output=True, timeout=timeout, check=False, env=environment)
        assert not check or done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def timed(self, *words: str, given: str = "", timeout: float = 600) -> subprocess.CompletedProcess[str]:
        """Run a command of the way from addresses to a cluster, and add what it took."""
        began = time.monotonic()
        done = self.run(*words, given=given, timeout=timeout)
        self.took.append(time.monotonic() - began)
        return done

    def kubectl(self, *words: str) -> str:
        """Run kubectl with the kubeconfig that the owner has fetched."""
        argv = [str(self.lab.kubectl_path), "--kubeconfig", str(self.home / "kubeconfig"), *words]
        return subprocess.run(list(in_network(self.lab.instance, argv)), capture_output=True, text=True, timeout=120,
                              check=True, cwd=self.home, env={"HOME": str(self.home)}).stdout

    def on(self, host: str, script: str) -> str:
        """Run a script as root on a node, by its short name."""
        return self.lab.on(host, "sh", "-ec", script)

    def of_ours(self) -> dict[str, str]:
        """Return what is on the nodes that only a change of ours could have left."""
        look = "ls -d /var/lib/kubewright /etc/kubewright /opt/kubewright /etc/kubernetes 2>/dev/null || true"
        return {host: found for host in NODES if (found := self.on(host, look))}


def machines() -> list[str]:
    """Return the five machines as they are named to `init`: their names, logins, and addresses in the cluster."""
    return [f"{host}.{DOMAIN}={USER}@{LOGINS[host]}:{PORT},{LAB.machine(host).address}" for host in NODES]


@contextmanager
def foreign(home: Path) -> Iterator[Foreign]:
    """Boot six nodes, the sixth a bastion, make the five foreign, and take them down in the end."""
    with apart("foreign") as lab:
        text = lab.file.read_text(encoding="utf-8")
        lab.file.write_text(f"{text}  {BASTION}: {{address: {BASTION_ADDRESS}, roles: []}}\n", encoding="utf-8")
        lab.run("lab", "up")
        (home / ".ssh").mkdir(parents=True)
        key = home / ".ssh" / "id_ed25519"
        public = locked_key(key)
        keygen(home / "operator")
        _make_bastion(lab, public)
        for host in NODES:
            _make_foreign(lab, host, public)
        with agent_with(home, key) as socket:
            yield Foreign(lab, home, socket)


def _make_bastion(lab: Lab, public: str) -> None:
    lab.on(BASTION, "sh", "-ec", f"""
        ip address replace 10.99.0.1/24 dev host0
        useradd --create-home --shell /bin/bash {VISITOR}
        {_let_in(VISITOR, public)}
        echo 'Port {JUMP_PORT}' > /etc/ssh/sshd_config.d/port.conf
        systemctl restart ssh""")


def _make_foreign(lab: Lab, host: str, public: str) -> None:
    """A user whose sudo asks, sshd at another port of an address that the bastion alone reaches, and an FQDN."""
    address = LAB.machine(host).address
    lab.on(host, "sh", "-ec", f"""
        ip address replace {LOGINS[host]}/24 dev host0
        printf '%s:%s\\n' {USER} {shlex.quote(PASSWORD)} | chpasswd
        echo '{USER} ALL=(ALL:ALL) ALL' > /etc/sudoers.d/90-lab
        {_let_in(USER, public)}
        printf 'Port {PORT}\\nListenAddress {LOGINS[host]}\\n' > /etc/ssh/sshd_config.d/port.conf
        rm /etc/ssh/ssh_host_* && ssh-keygen -q -A
        echo {host}.{DOMAIN} > /etc/hostname && hostname {host}.{DOMAIN}
        printf '127.0.0.1 localhost\\n{address} {host}.{DOMAIN} {host}\\n' > /etc/hosts
        systemctl restart ssh""")


def _let_in(user: str, public: str) -> str:
    keys = f"/home/{user}/.ssh"
    return (f"mkdir -p {keys} && echo '{public}' > {keys}/authorized_keys && chown -R {user}: {keys} && "
            f"chmod 700 {keys} && chmod 600 {keys}/authorized_keys")
