"""What there is of an instance right now: the listings that every lab verb decides from, and the cleaning."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from threading import Event

from provisioner.errors import GateFailed, KubewrightError
from provisioner.lab import cgroups, leftovers, mounts, network, nodes, processes, repository
from provisioner.lab.instance import Instance
from provisioner.lab.launch import boot_id
from provisioner.lab.leftovers import Leftover, Seen

END_SECONDS = 30.0
NSPAWN_RUNTIME = Path("/run/systemd/nspawn/propagate")


def look(instance: Instance) -> Seen:
    """Take the listings of this moment."""
    records = {name: nodes.record(instance, name) for name in instance.node_names()}
    return Seen(
        boot=boot_id(), records=records,
        started={r.pid: processes.start_time(r.pid) for r in records.values() if r is not None},
        mounts=mounts.mounted_below(instance.state_dir),
        members={name: cgroups.node_members(instance, name) for name in cgroups.groups(instance)},
        links=network.links(instance))


def clean(instance: Instance) -> tuple[Leftover, ...]:
    """Take away what nodes that do not run left behind, so that they can boot again; their disks stay."""
    seen = look(instance)
    found = leftovers.find(instance, seen, spare=repository.PROCESS)
    for name in dict.fromkeys(item.node for item in found):
        end_node(instance, name)
    return found


def end_node(instance: Instance, name: str) -> None:
    """End one node and everything it holds of this machine but its disk."""
    nodes.end(instance, name)
    link = leftovers.link_of(instance.machine(name), network.links(instance))
    if link:
        network.remove_link(instance, link)
    with suppress(FileNotFoundError):
        (NSPAWN_RUNTIME / instance.machine(name)).rmdir()


def end_nodes(instance: Instance, names: Iterable[str]) -> None:
    """End nodes side by side; every failure is told."""
    each(names, lambda name: end_node(instance, name), "ending the lab's nodes")


def everything(instance: Instance) -> tuple[str, ...]:
    """Return every node of which anything is left: a directory or a cgroup."""
    return tuple(sorted((set(instance.node_names()) | set(cgroups.groups(instance))) - {repository.PROCESS}))


def end_namespace_processes(instance: Instance) -> int:
    """End what else runs in the lab's network (commands of `lab exec --here`), but never what called us."""
    path = network.namespace_path(instance.name)
    ended: set[int] = set()

    def empty() -> bool:
        left = processes.in_namespace(path)
        for pid in left:
            processes.kill_if(pid, processes.belongs_to_namespace(path))
        ended.update(left)
        return not left

    if not processes.wait_until(empty, END_SECONDS):
        raise GateFailed(f"lab {instance.name}: ending what runs in its network: {len(ended)} processes stay",
                         hint="kubewright lab down", code="lab-process-stays")
    return len(ended)


def remove_all(instance: Instance) -> tuple[str, ...]:
    """Leave nothing of the instance: processes, mounts, cgroups, links, namespace, disks. Safe to repeat."""
    names = everything(instance)
    end_nodes(instance, (*names, repository.PROCESS))
    end_namespace_processes(instance)
    network.remove(instance)
    cgroups.remove_instance(instance)
    mounts.remove_tree(instance.state_dir)
    with suppress(OSError):           # other instances have theirs in it
        instance.state_root.rmdir()
    return names


def each(names: Iterable[str], act: Callable[[str], None], doing: str, stopping: Event | None = None) -> None:
    """Run `act(name)` for all names at once and raise one error that holds every failure.

    Ctrl-C sets `stopping`, which an act that waits must watch: threads cannot be interrupted otherwise.
    """
    listed = tuple(names)
    if not listed:
        return
    with ThreadPoolExecutor(max_workers=len(listed)) as pool:
        try:
            futures = {name: pool.submit(act, name) for name in listed}
            wait(futures.values())
        except KeyboardInterrupt:
            if stopping is not None:
                stopping.set()
            raise
    failures: dict[str, KubewrightError] = {}
    for name, future in futures.items():
        try:
            future.result()
        except KubewrightError as error:
            failures[name] = error
    if failures:
        first = next(iter(failures.values()))
        lines = [line for error in failures.values() for line in (error.message, *error.details)]
        raise type(first)(f"{', '.join(failures)}: {doing}: failed", details=lines,
                          hint=first.hint or "kubewright lab status", code=first.code)
