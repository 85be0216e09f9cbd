"""The nodes' image: what a cloud image has and nothing more, built once and cached under the digest of its recipe."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from provisioner.artifacts import debs
from provisioner.errors import GateFailed, PreflightRefused
from provisioner.lab import sources
from provisioner.lab.mounts import remove_tree
from provisioner.lab.processes import run
from provisioner.model import families
from provisioner.model.families import System

RECIPE = 2              # raise it when code that makes it changes: files and package lists are in the key by themselves
BUILD_SECONDS = 1200.0
FILES = Path(__file__).resolve().parent / "files"
# What Debian's cloud image has of what an inventory may rely on. libpam-systemd is left out on purpose: with it every
# login starts a service manager of its own, five nodes on two processors feel that.
PACKAGES = (
    "systemd", "systemd-sysv", "dbus", "udev", "kmod", "mount", "openssh-server", "python3", "sudo", "curl",
    "ca-certificates", "iproute2", "iputils-ping", "netbase", "procps", "less",
)
# What nodes can install from the lab's repository. None of it is in the image: the product has to bring it.
REPOSITORY_PACKAGES = (
    "haproxy", "keepalived", "runc", "conntrack", "nftables", "iptables", "ipset", "socat", "ethtool", "kmod",
    "python3-apt",
)
# What only some tests need, of systems that few nodes have: the image that every node else has stays as it is.
FIREWALLS = ("ufw", "firewalld")
# A node has no devices and no consoles of its own, and nothing in it may wait for a network outside.
MASKED_UNITS = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "apt-daily.service", "apt-daily-upgrade.service", "e2scrub_all.timer",
    "fstrim.timer", "dpkg-db-backup.timer", "systemd-udevd.service", "systemd-udev-trigger.service",
    "systemd-udevd-kernel.socket", "systemd-udevd-control.socket", "e2scrub_reap.service",
    "getty.target", "console-getty.service", "systemd-firstboot.service", "systemd-timesyncd.service",
    "systemd-modules-load.service", "kmod-static-nodes.service", "systemd-pstore.service",
    "modprobe@.service",
)
# Our own units in the image, and what starts them.
UNITS = (("lab-node.service", "sysinit.target"), ("lab-network.service", "multi-user.target"),
         ("lab-network.service", "network-online.target"))


@dataclass(frozen=True)
class Image:
    """A finished image in the cache."""

    key: str
    directory: Path

    @property
    def root(self) -> Path:
        """Return the root file system, the lower layer of every node's disk; never written to."""
        return self.directory / "root"

    @property
    def repository(self) -> Path:
        return self.directory / "repository"


def cache_dir() -> Path:
    """Return the cache that all checkouts of this user share."""
    chosen = os.environ.get("KUBEWRIGHT_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "kubewright"


def repository_packages(system: System) -> tuple[str, ...]:
    """Return what nodes of this system can install from the lab's repository."""
    return REPOSITORY_PACKAGES if system is families.DEFAULT else (*REPOSITORY_PACKAGES, *FIREWALLS)


def recipe_key(architecture: str, system: System = families.DEFAULT) -> str:
    """Return the digest of everything that decides what the image of a system holds."""
    files = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(FILES.iterdir()) if p.is_file()}
    recipe = {"recipe": RECIPE, "suite": system.suite, "architecture": architecture, "packages": PACKAGES,
              "repository": repository_packages(system), "masked": MASKED_UNITS, "files": files}
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


def find(key: str) -> Image | None:
    """Return a finished image: it stands under its key only since the build's last act, a rename."""
    directory = cache_dir() / "images" / key
    return Image(key, directory) if directory.is_dir() else None


def current_key(system: System = families.DEFAULT) -> str:
    """Return the key of the image of a system that this version of the tool builds on this machine."""
    return recipe_key(os.uname().machine, system)


def ensure(say: Callable[[str], None], system: System = families.DEFAULT) -> tuple[Image, bool]:
    """Return the image and whether it had to be built; a second caller waits for the first one's build."""
    key = current_key(system)
    found = find(key)
    if found:
        return found, False
    with _build_lock():
        found = find(key)
        if found:
            return found, False
        say(f"building the nodes' image of {system.name} (once; cached afterwards)")
        return _build(key, system), True


@contextmanager
def _build_lock() -> Iterator[None]:
    images = cache_dir() / "images"
    images.mkdir(parents=True, exist_ok=True)
    handle = os.open(images / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + BUILD_SECONDS
        while not _try_lock(handle):
            if time.monotonic() > deadline:
                raise GateFailed(f"this machine: building the nodes' image: another build holds {images / '.lock'}",
                                 hint="kubewright lab up", code="lab-image-busy")
            time.sleep(0.2)
        for leftover in images.glob(".building-*"):      # whoever built there is gone: we hold the lock
            remove_tree(leftover)
        yield
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _build(key: str, system: System) -> Image:
    images = cache_dir() / "images"
    building = Path(tempfile.mkdtemp(prefix=".building-", dir=images))
    try:
        (building / "repository").mkdir()
        _bootstrap(building, system)
        _finish(building / "root")
        debs.build_index(building / "repository")
        building.chmod(0o755)
        os.sync()        # the rename must not reach the disk before the files do
        building.rename(images / key)
    finally:
        remove_tree(building)
    return Image(key, images / key)


def bootstrap_command(root: Path, settings: Sequence[str], architecture: str, suite: str, packages: Sequence[str],
                      *options: str) -> list[str]:
    """Return the mmdebstrap call; its sources come on stdin, or are its own where this machine has none of Debian."""
    return ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", "--format=directory",
            f"--architectures={architecture}", f"--include={','.join(packages)}",
            *(f"--aptopt={setting}" for setting in settings), *options, suite, str(root)]


def mmdebstrap(command: Sequence[str], suite: str, seconds: float, environment: Mapping[str, str],
               ) -> subprocess.CompletedProcess[str]:
    """Run an mmdebstrap call by this machine's own sources, whatever its end; raises what subprocess does."""
    stanzas = sources.debian_stanzas(sources.read_source_files(), suite)
    text = "\n\n".join(stanzas) + "\n" if stanzas else None
    return subprocess.run([*command, "-"] if text else command, input=text, capture_output=True, text=True,
                          env=os.environ | environment | {"DEBIAN_FRONTEND": "noninteractive"}, timeout=seconds,
                          check=False)


def _bootstrap(building: Path, system: System) -> None:
    architecture = run(["dpkg", "--print-architecture"], doing="reading the architecture").strip()
    command = bootstrap_command(building / "root", sources.read_transport_settings(), architecture, system.suite,
                                PACKAGES, f"--customize-hook={FILES / 'image-hook'}")
    environment = {"LAB_REPOSITORY_PACKAGES": " ".join(repository_packages(system)),
                   "LAB_REPOSITORY": str(building / "repository")}
    try:
        done = mmdebstrap(command, system.suite, BUILD_SECONDS, environment)
    except FileNotFoundError:
        raise PreflightRefused("this machine: building the nodes' image: mmdebstrap is not installed",
                               hint="apt-get install mmdebstrap", code="lab-tools") from None
    except subprocess.TimeoutExpired:
        raise GateFailed(f"this machine: building the nodes' image: not done after {BUILD_SECONDS:.0f} s",
                         hint="kubewright lab up", code="lab-image") from None
    if done.returncode != 0:
        raise GateFailed(f"this machine: building the nodes' image: mmdebstrap: exit {done.returncode}",
                         details=(done.stdout + done.stderr).strip().splitlines()[-15:],
                         hint="apt-get update && kubewright lab up", code="lab-image")


def _finish(root: Path) -> None:
    """Turn the bootstrapped root into an image: no identity, no sources, the early boot unit."""
    for path in (*root.glob("etc/ssh/ssh_host_*"), *root.glob("etc/apt/sources.list.d/*"),
                 *root.glob("etc/apt/apt.conf.d/99mmdebstrap"), root / "etc/hostname", root / "etc/resolv.conf"):
        path.unlink(missing_ok=True)
    _write(root / "etc/machine-id", "")
    _write(root / "etc/resolv.conf", "")
    _write(root / "etc/apt/sources.list", "")
    _write(root / "etc/apt/apt.conf.d/90lab", 'Acquire::Languages "none";\nAcquire::http::Timeout "10";\n')
    _write(root / "etc/ssh/sshd_config.d/lab.conf", "HostKey /etc/ssh/ssh_host_ed25519_key\n")
    for name in ("prepare", "network"):
        _write(root / "usr/lib/lab-node" / name, (FILES / f"lab-node-{name}").read_text(), 0o755)
    units = root / "etc/systemd/system"
    for unit, wanted_by in UNITS:
        _write(units / unit, (FILES / unit).read_text())
        _link(units / f"{wanted_by}.wants" / unit, f"/etc/systemd/system/{unit}")
    for unit in MASKED_UNITS:
        _link(units / unit, "/dev/null")


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _link(path: Path, target: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)
