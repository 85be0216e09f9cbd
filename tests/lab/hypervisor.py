"""libvirt for one test, in a network of its own: nothing of it is a service, and no packet of its machines gets out."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

NAMESPACE = "kubewright-vm"
INSIDE = ("nsenter", f"--net=/run/netns/{NAMESPACE}")
URI = "qemu:///system"
NEEDED = ("vagrant", "libvirtd", "virtlogd", "virsh", "qemu-system-x86_64", "qemu-img", "mmdebstrap", "mke2fs",
          "dnsmasq", "iptables")
# One user, no security driver, no namespaces and cgroups of libvirt's own: this root may make none of them everywhere.
QEMU_CONF = """user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
"""
START_SECONDS = 600.0


def lacking() -> list[str]:
    """Return what is not here of what a virtual machine needs."""
    return [name for name in NEEDED if shutil.which(name) is None]


@dataclass(frozen=True)
class Hypervisor:
    """A libvirtd that answers inside of its network namespace."""

    directory: Path
    environment: Mapping[str, str]

    def run(self, command: Sequence[str], cwd: Path, seconds: float,
            environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command where the machines are reached, and return what it printed."""
        return subprocess.run([*INSIDE, *command], cwd=cwd, timeout=seconds, check=False, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              env={**os.environ, **self.environment, **(environ or {})})

    def virsh(self, *words: str) -> str:
        done = self.run(["virsh", "-c", URI, *words], self.directory, 300)
        return done.stdout if done.returncode == 0 else ""


@contextmanager
def hypervisor(directory: Path) -> Iterator[Hypervisor]:
    """Start libvirt and end it with all machines, networks and pools that were made meanwhile."""
    settings = directory / "libvirt"
    shutil.copytree("/etc/libvirt", settings)
    (settings / "qemu.conf").write_text(QEMU_CONF, encoding="utf-8")
    (directory / "pool").mkdir()
    environment = {"VAGRANT_HOME": str(directory / "vagrant-home"), "VAGRANT_DEFAULT_PROVIDER": "libvirt",
                   "LIBVIRT_DEFAULT_URI": URI}
    here = Hypervisor(directory, environment)
    with ExitStack() as undo:
        subprocess.run(["ip", "netns", "add", NAMESPACE], check=True, timeout=10)
        undo.callback(subprocess.run, ["ip", "netns", "del", NAMESPACE], check=False, timeout=10)
        subprocess.run(["ip", "-n", NAMESPACE, "link", "set", "lo", "up"], check=True, timeout=10)
        for daemon in ("virtlogd", "libvirtd"):
            undo.callback(_end, _start(daemon, settings, directory))
        _until_it_answers(here)
        undo.callback(_clear, here)
        here.virsh("pool-define-as", "default", "dir", "--target", str(directory / "pool"))
        here.virsh("pool-start", "default")
        yield here


def _start(daemon: str, settings: Path, directory: Path) -> subprocess.Popen[bytes]:
    """Start one with our settings in the place of the machine's, for it alone."""
    script = f'mount --bind "$1" /etc/libvirt && exec {daemon}'
    with (directory / f"{daemon}.log").open("wb") as log:
        return subprocess.Popen([*INSIDE, "unshare", "--mount", "sh", "-c", script, "sh", str(settings)],
                                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(60)
    process.kill()


def _until_it_answers(here: Hypervisor) -> None:
    end = time.monotonic() + START_SECONDS
    while "libvirt" not in here.virsh("version"):
        assert time.monotonic() < end, (here.directory / "libvirtd.log").read_text(encoding="utf-8")
        time.sleep(0.5)


def _clear(here: Hypervisor) -> None:
    for name in here.virsh("list", "--all", "--name").split():
        here.virsh("destroy", name)
        here.virsh("undefine", name)
    for kind, all_of_them in (("net", "net-list"), ("pool", "pool-list")):
        for name in here.virsh(all_of_them, "--all", "--name").split():
            here.virsh(f"{kind}-destroy", name)
            here.virsh(f"{kind}-undefine", name)
