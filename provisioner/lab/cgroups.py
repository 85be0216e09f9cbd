"""The nodes' control groups: one directory a node in every hierarchy, so that a node can be ended as a whole."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from provisioner.errors import GateFailed
from provisioner.lab.instance import Instance
from provisioner.lab.processes import kill_if, wait_until

KILL_SECONDS = 30.0


def parse_hierarchies(mountinfo: str) -> tuple[Path, ...]:
    """Return the mount point of every cgroup hierarchy below /sys/fs/cgroup (version 1, hybrid or 2)."""
    found = []
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        point = fields.split()[4] if fields else ""
        if rest.split(" ")[0] in ("cgroup", "cgroup2") and point.startswith("/sys/fs/cgroup"):
            found.append(Path(point))
    return tuple(dict.fromkeys(found))


def hierarchies() -> tuple[Path, ...]:
    """Return the hierarchies of this machine."""
    return parse_hierarchies(Path("/proc/self/mountinfo").read_text())


def create(instance: Instance, name: str) -> tuple[Path, ...]:
    """Make the cgroups of one node and return them; the launcher joins them before it becomes the node.

    The name=systemd and the unified hierarchy are among them: without those all nodes would share one systemd tree.
    """
    made = []
    for root in hierarchies():
        group = root / instance.namespace
        for parent, child in ((root, group), (group, group / name)):
            child.mkdir(exist_ok=True)
            _prepare(parent, child)
        made.append(group / name)
    return tuple(made)


def _prepare(parent: Path, child: Path) -> None:
    """Fill what an empty group needs before a process may join it."""
    for setting in ("cpuset.cpus", "cpuset.mems"):        # version 1: empty, and then nothing may join
        if (child / setting).exists() and not (child / "cgroup.controllers").exists():
            (child / setting).write_text((parent / setting).read_text())
    controllers = parent / "cgroup.controllers"           # version 2: a child has only what the parent passes on
    if controllers.exists():
        for controller in controllers.read_text().split():
            with suppress(OSError):
                (parent / "cgroup.subtree_control").write_text(f"+{controller}")


def groups(instance: Instance) -> dict[str, tuple[Path, ...]]:
    """Return the nodes' group directories that exist, by node name."""
    found: dict[str, list[Path]] = {}
    for root in hierarchies():
        top = root / instance.namespace
        for child in sorted(top.iterdir()) if top.is_dir() else ():
            if child.is_dir():
                found.setdefault(child.name, []).append(child)
    return {name: tuple(paths) for name, paths in found.items()}


def members(directory: Path) -> frozenset[int]:
    """Return the processes in `directory` and everywhere below it."""
    found: set[int] = set()
    for path, _, _ in os.walk(directory):
        with suppress(OSError), open(f"{path}/cgroup.procs") as listing:  # noqa: PTH123 - a third of Path's time
            found.update(map(int, listing))     # of a group that vanished none; a threaded one's are in its parent
    found.discard(0)                         # a process of another pid namespace has no number here
    return frozenset(found)


def node_members(instance: Instance, name: str) -> frozenset[int]:
    """Return every process of one node, also those that left its init behind."""
    return frozenset().union(*(members(group) for group in groups(instance).get(name, ())))


def is_member(memberships: str, instance: Instance, name: str) -> bool:
    """Decide from the text of /proc/PID/cgroup whether the process is one of the node's."""
    own = f"/{instance.namespace}/{name}"
    paths = (line.split(":", 2)[2] for line in memberships.splitlines() if line.count(":") >= 2)
    return any(path == own or path.startswith(own + "/") for path in paths)


def _memberships(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return ""


def end(instance: Instance, name: str) -> int:
    """End every process of the node and remove its groups; how many processes were ended.

    Membership is checked again while the kernel pins the process, so a recycled number is never hit. Both are tried
    until both are done: what a killed `lab up` had begun may join a group, or make one, after the first look.
    """
    ended: set[int] = set()

    def is_gone() -> bool:
        left = node_members(instance, name)
        for pid in left:
            kill_if(pid, lambda p: is_member(_memberships(p), instance, name))
        ended.update(left)
        return not left and all([_remove(group) for group in groups(instance).get(name, ())])

    if not wait_until(is_gone, KILL_SECONDS, 0.02):
        left, there = node_members(instance, name), groups(instance).get(name, ())
        raise GateFailed(f"{name}: ending it: {len(left)} processes still run after {KILL_SECONDS:.0f} s: "
                         f"{sorted(left)[:10]}, in {', '.join(map(str, there))}",
                         hint="kubewright lab down", code="lab-process-stays")
    return len(ended)


def remove_instance(instance: Instance) -> None:
    """Remove the instance's own, now empty, directories in every hierarchy."""
    tops = [root / instance.namespace for root in hierarchies()]
    if not wait_until(lambda: all([_remove(top) for top in tops]), KILL_SECONDS, 0.02):
        there = [str(top) for top in tops if top.is_dir()]
        raise GateFailed(f"this machine: removing {', '.join(there)}: something is in use there",
                         hint="kubewright lab down", code="lab-cgroup-stays")


def _remove(group: Path) -> bool:
    """Remove a group and those below it, as far as the kernel has let go of their tasks; say whether it is gone."""
    for path, _, _ in os.walk(group, topdown=False):
        with suppress(OSError):
            os.rmdir(path)  # noqa: PTH106 - a third of Path's time
    return not group.is_dir()
