"""One node: a systemd-nspawn machine with its own disk, keys, address and cgroups."""

from __future__ import annotations

import json
import secrets
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from provisioner.errors import GateFailed
from provisioner.lab import cgroups, disks, keys, mounts, network, processes, repository
from provisioner.lab.image import Image
from provisioner.lab.instance import Instance, LabNetwork, read_json, write_file
from provisioner.lab.processes import ProcessRecord, run, start_daemon
from provisioner.model import families
from provisioner.model.cluster import Cluster, Host

# Overlay on overlay does not mount, and containers' images are overlays: these two lie on the machine's own disk.
# Below each is what is never written to once no process of the node lives: a container starts from a layer of its own.
BOUND_DIRECTORIES = {
    "/var/lib/containerd": ("io.containerd.content.v1.content/blobs",
                            "io.containerd.snapshotter.v1.overlayfs/snapshots"),
    "/var/lib/kubelet": (),
}
# Exist on every Linux; the kubelet reads the one, fuse-overlayfs and friends open the other.
BOUND_DEVICES = ("/dev/kmsg", "/dev/fuse")
# So that `modprobe` in a node finds the modules of the kernel that it runs on, where that kernel has any.
BOUND_READ_ONLY = ("/lib/modules",)
SYSTEM_CALLS = "@keyring bpf @mount @privileged @raw-io @reboot @swap @clock @debug"
REBOOT_CODE = 133         # systemd-nspawn(1), --keep-unit: "the container asks to be started again"


Identity = tuple[str, str, int, str]       # address, user, SSH port, system


@dataclass(frozen=True)
class NodeSpec:
    """What a node is created from; `node.json` in its directory repeats it. `layers` are its disk, the newest first.

    `second` is its address of IPv6, where the inventory gives it one.
    """

    name: str
    address: str
    user: str
    port: int
    image: str
    layers: tuple[str, ...] = ()
    second: str = ""
    system: str = families.DEFAULT.key


@dataclass(frozen=True)
class NodePaths:
    """Where one node lies on this machine."""

    directory: Path

    @property
    def root(self) -> Path:
        """Return the mount point of its disk: what the node sees as /."""
        return self.directory / "root"

    @property
    def spec_file(self) -> Path:
        """Return the file whose presence says that the node was created completely."""
        return self.directory / "node.json"

    def bound(self, inside: str) -> Path:
        return self.directory / "bound" / inside.strip("/").replace("/", "-")


def paths(instance: Instance, name: str) -> NodePaths:
    """Return where the node `name` lies."""
    return NodePaths(instance.node_dir(name))


def spec_of(cluster: Cluster, host: Host, image: Image) -> NodeSpec:
    """Return what the inventory says of a node, and the image of its system."""
    address, user, port, system = identity_of(cluster, host)
    return NodeSpec(host.name, address, user, port, image.key, system=system,
                    second="".join(host.addresses[1:]))


def system_of(host: Host) -> str:
    """Return the system that a node boots: the inventory's, else the default one."""
    return host.spec.system or families.DEFAULT.key


def identity_of(cluster: Cluster, host: Host) -> Identity:
    """Return what the inventory says of a node that it cannot change once it was created."""
    ssh = cluster.ssh_of(host.name)
    return host.address, ssh.user, ssh.port, system_of(host)


def read_spec(instance: Instance, name: str) -> NodeSpec | None:
    """Return what the node was created from, or None when its creation was cut off."""
    value = read_json(paths(instance, name).spec_file)
    try:
        return spec_from(value)
    except TypeError:
        return None


def spec_from(value: Mapping[str, Any]) -> NodeSpec:
    """Return what `asdict` made of a NodeSpec as one again; raises TypeError where it is none."""
    return NodeSpec(**{**value, "layers": tuple(value.get("layers", ()))})


def identity(spec: NodeSpec) -> Identity:
    """Return of a node what it cannot change; the image is not part of it."""
    return spec.address, spec.user, spec.port, spec.system


def write_spec(instance: Instance, spec: NodeSpec) -> None:
    """Write what the node was created from: its last act, or, with one layer more, the first of a disk that goes on."""
    write_file(paths(instance, spec.name).spec_file, json.dumps(asdict(spec)))


def record(instance: Instance, name: str) -> ProcessRecord | None:
    """Return the identity of the node's supervisor as it wrote it itself."""
    return processes.read_record(instance.node_dir(name) / "node-process.json")


def is_running(instance: Instance, name: str) -> bool:
    """Say whether the node's supervisor lives (not: a stranger that got its number)."""
    return processes.is_alive(record(instance, name))


def command_line(instance: Instance, name: str, shared: Sequence[str] = ()) -> list[str]:
    """Return the systemd-nspawn call of a node.

    All capabilities but CAP_SYS_TIME, for the nodes share this machine's clock; the system calls that runc and the
    kubelet need; no registration, so that a machine without systemd can do it too. `shared` are the machine's own
    paths that the node sees too.
    """
    node = paths(instance, name)
    binds = [f"--bind={node.bound(inside)}:{inside}" for inside in BOUND_DIRECTORIES]
    return [
        "systemd-nspawn", "--quiet", f"--directory={node.root}", f"--machine={instance.machine(name)}",
        f"--hostname={name}", f"--network-bridge={network.BRIDGE}", "--boot", "--register=no", "--keep-unit",
        "--settings=no", "--link-journal=no", "--resolv-conf=off", "--timezone=off", "--console=read-only",
        "--capability=all", "--drop-capability=CAP_SYS_TIME", f"--system-call-filter={SYSTEM_CALLS}",
        *binds, *(f"--bind{'-ro' if path in BOUND_READ_ONLY else ''}={path}" for path in shared),
    ]


def create(instance: Instance, spec: NodeSpec, image: Image, lab_network: LabNetwork, operator: str) -> None:
    """Make a node's disk and identity; a half-made one from an interrupted run is thrown away first."""
    node = paths(instance, spec.name)
    mounts.remove_tree(node.directory)
    for directory in (node.root, *map(node.bound, BOUND_DIRECTORIES)):
        directory.mkdir(parents=True)
        directory.chmod(0o755)
    made = replace(spec, layers=(disks.add_layer(instance, spec.name),))
    disks.mount(instance, made.layers, image.root, node.root)
    for path, text in identity_files(spec, lab_network).items():
        write_file(node.root / path.lstrip("/"), text)
    host_key = node.root / "etc/ssh/ssh_host_ed25519_key"
    keys.generate(host_key, spec.name)
    _authorise(node.root, spec.user, operator)
    write_spec(instance, made)


def identity_files(spec: NodeSpec, lab_network: LabNetwork) -> dict[str, str]:
    """Return the texts that make this node itself, by their path in it."""
    second = {network.SECOND_FILE: network.second_file(spec.second, lab_network)} if spec.second else {}
    return second | {
        "/etc/hostname": f"{spec.name}\n",
        "/etc/hosts": f"127.0.0.1 localhost\n{spec.address} {spec.name}\n",
        "/etc/machine-id": f"{secrets.token_hex(16)}\n",
        "/etc/lab-node/address": network.address_file(spec.address, lab_network),
        "/etc/apt/sources.list": repository.sources_list(lab_network.gateway, spec.system),
        "/etc/ssh/sshd_config.d/port.conf": f"Port {spec.port}\n",
    }


def _authorise(root: Path, user: str, operator: str) -> None:
    """Make the inventory's user with passwordless sudo, and let the operator's key in."""
    if user != "root":
        run(["chroot", str(root), "useradd", "--create-home", "--shell", "/bin/bash", user], doing=f"making {user}")
        write_file(root / "etc/sudoers.d/90-lab", f"{user} ALL=(ALL) NOPASSWD:ALL\n", 0o440)
    home = root / ("root" if user == "root" else f"home/{user}")
    write_file(home / ".ssh/authorized_keys", f"{operator}\n", 0o600)
    (home / ".ssh").chmod(0o700)
    run(["chroot", str(root), "chown", "-R", f"{user}:", f"/{home.relative_to(root)}/.ssh"], doing="making its keys")


def host_key(instance: Instance, name: str) -> str:
    """Return the public half of the node's SSH host key; the disk need not be mounted."""
    spec = read_spec(instance, name)
    return disks.read(instance, spec.layers, "etc/ssh/ssh_host_ed25519_key.pub") if spec else ""


def operator_of(instance: Instance, spec: NodeSpec) -> str:
    """Return the key that the node lets in."""
    home = "root" if spec.user == "root" else f"home/{spec.user}"
    return disks.read(instance, spec.layers, f"{home}/.ssh/authorized_keys")


def boot(instance: Instance, name: str, image: Image, options: Sequence[str] = ()) -> None:
    """Start a created node that is not running; its disk is as it was left, as after a power cut.

    `options` are further ones of systemd-nspawn.
    """
    node = paths(instance, name)
    spec = read_spec(instance, name)
    if spec is None or not disks.are_whole(instance, spec.layers):
        raise GateFailed(f"{name}: giving it power: it has no disk", hint="kubewright lab up", code="lab-not-up")
    if not mounts.mounted_below(node.root):
        disks.mount(instance, spec.layers, image.root, node.root)
    shared = [path for path in (*BOUND_DEVICES, *BOUND_READ_ONLY) if Path(path).exists()]
    start_daemon([*command_line(instance, name, shared), *options], directory=node.directory, name="node-process",
                 netns=network.namespace_path(instance.name), cgroups=cgroups.create(instance, name),
                 supervise=("--reboot-code", str(REBOOT_CODE), "--link", network.link_name(instance.machine(name))))


def end(instance: Instance, name: str) -> int:
    """End the node at once, like pulling its plug, with every process that outlived its init; take its mounts off."""
    processes.kill_record(record(instance, name))      # first, else it might boot what we are ending
    ended = cgroups.end(instance, name)
    mounts.unmount_below(instance.node_dir(name))
    (instance.node_dir(name) / "node-process.json").unlink(missing_ok=True)
    return ended


def is_init(status: str) -> bool:
    """Decide from the text of /proc/PID/status whether this is a node's first process: number 1, one namespace down."""
    numbers = next((line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")), [])
    return len(numbers) == 2 and numbers[1] == "1"


def init_pid(instance: Instance, name: str) -> int | None:
    """Return the number on this machine of the node's init, or None where the node does not run."""
    for pid in sorted(cgroups.node_members(instance, name)):
        with suppress(OSError):          # it ended meanwhile
            if is_init(Path(f"/proc/{pid}/status").read_text()):
                return pid
    return None


def not_running(name: str) -> GateFailed:
    """Return the fault of a node that has to run for what is asked."""
    return GateFailed(f"{name}: reaching it: the node does not run", hint="kubewright lab up", code="lab-not-up")


def running_init(instance: Instance, name: str) -> int:
    """Return the number of the node's init; GateFailed where the node does not run."""
    init = init_pid(instance, name)
    if init is None:
        raise not_running(name)
    return init


def entered(init: int, command: Sequence[str]) -> tuple[str, ...]:
    """Return `command` as one that root runs in the node whose init this is, without SSH or network."""
    return ("nsenter", f"--target={init}", "--mount", "--uts", "--ipc", "--net", "--pid", "--", *command)


def ssh_command(inventory_known_hosts: Path, key: Path, spec: NodeSpec, command: Sequence[str] = ()) -> list[str]:
    """Return the OpenSSH call that runs `command` as root on the node, or logs in when there is none.

    Only the lab's pins and the lab's key count: a person's own SSH configuration changes nothing here.
    """
    options = ["-F", "none", "-i", str(key), "-p", str(spec.port), "-l", spec.user]
    settings = ("IdentitiesOnly=yes", "StrictHostKeyChecking=yes", f"UserKnownHostsFile={inventory_known_hosts}",
                "GlobalKnownHostsFile=none", "BatchMode=yes", "ConnectTimeout=10", "LogLevel=ERROR")
    call = ["ssh", *options, *(part for setting in settings for part in ("-o", setting)), spec.address]
    if not command:
        return call
    become = [] if spec.user == "root" else ["sudo", "-n", "--"]
    return [*call, "--", shlex.join([*become, *command])]


def memory_mib(instance: Instance, name: str) -> int | None:
    """Return how much memory the node takes, without files that can be dropped; None where no cgroup tells."""
    for group in cgroups.groups(instance).get(name, ()):
        for figure in ("memory.usage_in_bytes", "memory.current"):
            if (group / figure).exists():
                used = int((group / figure).read_text())
                return max(0, used - droppable((group / "memory.stat").read_text())) // 2**20
    return None


def droppable(memory_stat: str) -> int:
    """Return the bytes of cached files, from memory.stat of either cgroup version."""
    figures = dict(line.split(" ", 1) for line in memory_stat.splitlines() if " " in line)
    shared = int(figures.get("total_shmem") or figures.get("shmem") or 0)      # counted as cache, but it is in use
    return int(figures.get("total_cache") or figures.get("file") or 0) - shared
