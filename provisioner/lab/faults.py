"""What goes wrong with machines, done to lab nodes and undone: power, cable, lost packets, a process that hangs.

Each fault acts on one node from outside, so it needs no working network. What is in force is read from the kernel
every time: a fault that a killed command left behind is still seen, by `lab status` too, and can still be undone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from provisioner.errors import GateFailed, KubewrightError, UsageFault
from provisioner.lab import booting, cgroups, filters, image, leftovers, network, nodes, processes, requirements, state
from provisioner.lab.defects import act
from provisioner.lab.defects.table import named
from provisioner.lab.filters import Drop
from provisioner.lab.instance import Instance, locked, require_lab
from provisioner.model.inventory import Inventory

SIGNAL_SECONDS = 5.0


@dataclass(frozen=True)
class Fault:
    """One fault in force. `what` is the unit that is paused, the packets that are dropped, the defect's name."""

    host: str
    kind: str          # killed, cut, paused, dropping, given (a defect of the table)
    what: str = ""

    def __str__(self) -> str:
        return self.what if self.kind == "given" else f"{self.kind} {self.what}".rstrip()


def kill(inventory: Inventory, host: str) -> None:
    """Take the node's power away: silence on the network at once, then every process ends; its disk stays.

    The cable goes first, else the kernel would say goodbye on every open connection, which no machine without power
    does. What a program wrote and did not sync is kept all the same: the node's cache is this machine's.
    """
    instance = _instance(inventory, host)
    with locked(instance):
        with suppress(KubewrightError):      # one that is off already has no cable
            network.set_link(instance, _link(instance, host), "down")
        state.end_node(instance, host)


def come_back(inventory: Inventory, host: str) -> None:
    """Give the node its power again and wait until it answers SSH; one that runs is left alone."""
    instance = _instance(inventory, host)
    with locked(instance):
        if nodes.is_running(instance, host):
            return
        spec = nodes.read_spec(instance, host)
        built = image.find(spec.image) if spec else None
        if spec is None or built is None:
            raise GateFailed(f"{host}: giving it power: it has no disk", hint="kubewright lab up", code="lab-not-up")
        state.end_node(instance, host)
        booting.boot(instance, inventory, {host: spec}, [host], {host: built})


def cut(inventory: Inventory, host: str) -> None:
    """Pull the node's network cable; it sees that its carrier is gone."""
    instance = _instance(inventory, host)
    network.set_link(instance, _link(instance, host), "down")


def heal(inventory: Inventory, host: str) -> None:
    """Plug the node's network cable in again; one without power gets a new one when it boots."""
    instance = _instance(inventory, host)
    if nodes.is_running(instance, host):
        network.set_link(instance, _link(instance, host), "up")


def drop(inventory: Inventory, host: str, port: int | None = None, peer: str | None = None) -> None:
    """Lose packets at the node's port of the switch: all, of one TCP and UDP port, only those to and from a peer."""
    instance = _instance(inventory, host, *([peer] if peer else []))
    if peer == host:
        raise UsageFault(f"{host}: dropping what it exchanges with itself: that never leaves it",
                         hint="kubewright lab fault drop --help")
    filters.add(instance, Drop(host, port, peer), {name: _link(instance, name) for name in (host, peer) if name})


def undrop(inventory: Inventory, host: str) -> None:
    """Let all packets of the node through again."""
    filters.remove(_instance(inventory, host), host)


def pause(inventory: Inventory, host: str, unit: str) -> None:
    """Stop the main process of a unit with SIGSTOP: it is there, holds its connections, and answers nothing."""
    instance = _instance(inventory, host)
    unit = full_name(unit)
    _signal(instance, host, unit, "SIGSTOP", "main")
    if not processes.wait_until(lambda: unit in paused_units(instance, host), SIGNAL_SECONDS):
        raise GateFailed(f"{host}: pausing {unit}: it has no process that could be stopped",
                         hint=f"kubewright lab exec {host} -- systemctl status {unit}", code="lab-unit")


def resume(inventory: Inventory, host: str, unit: str) -> None:
    """Let a paused unit go on; one that was restarted or lost its power meanwhile has nothing to resume."""
    instance = _instance(inventory, host)
    if nodes.is_running(instance, host):
        _signal(instance, host, full_name(unit), "SIGCONT", "all")


def give(inventory: Inventory, host: str, names: Collection[str]) -> None:
    """Give the node defects of the table, as a machine has them that was somebody else's before."""
    act.inject(_instance(inventory, host), inventory.cluster, host, named(names))


def take(inventory: Inventory, host: str, names: Collection[str] = ()) -> None:
    """Take defects away from the node, all that it has where none is named; each file is what it was."""
    instance = _instance(inventory, host)
    act.undo(instance, inventory.cluster, host, [d.name for d in named(names) or act.in_force(instance, host)])


def in_force(instance: Instance, hosts: Collection[str]) -> tuple[Fault, ...]:
    """Return every fault of these nodes, as the kernel tells it now; a node without power shows no others but drops."""
    if not network.exists(instance):
        return ()
    up = {str(link["ifname"]): "UP" in link["flags"] for link in network.link_details(instance)}
    links = network.links(instance)
    found: list[Fault] = []
    for host in hosts:
        link = leftovers.link_of(instance.machine(host), links)
        if not nodes.is_running(instance, host):
            found += [Fault(host, "killed")] if nodes.read_spec(instance, host) else []
            continue
        found += [Fault(host, "cut")] if link and not up.get(link, True) else []
        found += [Fault(host, "paused", unit) for unit in sorted(paused_units(instance, host))]
        found += [Fault(host, "given", defect.name) for defect in act.in_force(instance, host)]
    return (*found, *(Fault(d.host, "dropping", str(d)) for d in filters.drops(instance) if d.host in hosts))


def undo(inventory: Inventory, hosts: Collection[str] = ()) -> tuple[Fault, ...]:
    """Undo every fault in force on these nodes, or on all, and return which there were."""
    instance = _instance(inventory, *hosts)
    asked = hosts or tuple(inventory.cluster.hosts)
    found = in_force(instance, asked)
    for fault in found:
        match fault.kind:
            case "given":
                continue
            case "killed":
                come_back(inventory, fault.host)
            case "cut":
                heal(inventory, fault.host)
            case "paused":
                resume(inventory, fault.host, fault.what)
            case _:
                undrop(inventory, fault.host)
    # Asked again: a node without power did not tell what it had been given.
    given = tuple(fault for fault in in_force(instance, asked) if fault.kind == "given")
    for host in dict.fromkeys(fault.host for fault in given):
        take(inventory, host)
    return tuple(dict.fromkeys((*found, *given)))


@contextmanager
def killed(inventory: Inventory, host: str) -> Iterator[None]:
    """Have the node without power inside the block; at its end it has booted and answers SSH."""
    kill(inventory, host)
    try:
        yield
    finally:
        come_back(inventory, host)


@contextmanager
def cut_off(inventory: Inventory, host: str) -> Iterator[None]:
    """Have the node's cable pulled inside the block."""
    cut(inventory, host)
    try:
        yield
    finally:
        heal(inventory, host)


@contextmanager
def dropping(inventory: Inventory, host: str, port: int | None = None, peer: str | None = None) -> Iterator[None]:
    """Have packets of the node lost inside the block; its end lets all through, also those of other drops."""
    drop(inventory, host, port, peer)
    try:
        yield
    finally:
        undrop(inventory, host)


@contextmanager
def paused(inventory: Inventory, host: str, unit: str) -> Iterator[None]:
    """Have a unit's main process stopped inside the block."""
    pause(inventory, host, unit)
    try:
        yield
    finally:
        resume(inventory, host, unit)


def paused_units(instance: Instance, host: str) -> frozenset[str]:
    """Return the services of the node whose main process is stopped.

    A stopped process beside it, such as a person's own job in a login, is not the service.
    """
    seen: list[tuple[str, str]] = []
    for pid in cgroups.node_members(instance, host):
        with suppress(OSError):              # it ended meanwhile
            seen.append((Path(f"/proc/{pid}/status").read_text(), Path(f"/proc/{pid}/cgroup").read_text()))
    stopped = stopped_processes(seen)
    init = nodes.init_pid(instance, host) if stopped else None
    if init is None:
        return frozenset()
    show = ["systemctl", "show", "--property=Id,MainPID", "--", *sorted(stopped)]
    text = processes.run(nodes.entered(init, show), doing=f"asking {host} for its services")
    return frozenset(unit for unit, main in main_processes(text).items() if main in stopped.get(unit, ()))


def stopped_processes(seen: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    """Return the stopped processes of each service by their number in the node, from /proc/PID/status and /cgroup."""
    found: dict[str, set[str]] = {}
    for status, memberships in seen:
        fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        if fields["State"].split()[0] == "T":
            names = {part for line in memberships.splitlines() for part in line.split("/") if part.endswith(".service")}
            for unit in names:
                found.setdefault(unit, set()).add(fields["NSpid"].split()[-1])
    return found


def main_processes(text: str) -> dict[str, str]:
    """Return each unit's main process from what `systemctl show --property=Id,MainPID` printed."""
    units = (dict(line.split("=", 1) for line in block.splitlines()) for block in text.split("\n\n") if block.strip())
    return {unit["Id"]: unit["MainPID"] for unit in units}


def full_name(unit: str) -> str:
    """Return the name with its kind, as systemctl reads a name without one."""
    return unit if "." in unit else f"{unit}.service"


def _signal(instance: Instance, host: str, unit: str, name: str, whom: str) -> None:
    init = nodes.running_init(instance, host)
    command = ["systemctl", "kill", f"--signal={name}", f"--kill-whom={whom}", "--", unit]
    try:
        processes.run(nodes.entered(init, command), doing=f"sending {name} to {unit} of {host}")
    except KubewrightError as error:
        raise GateFailed(f"{host}: sending {name} to {unit}: {' '.join(error.details) or error.message}",
                         hint=f"kubewright lab exec {host} -- systemctl status {unit}", code="lab-unit") from error


def _instance(inventory: Inventory, *hosts: str) -> Instance:
    """Return the instance; refuse machines that are not ours to break, and hosts that do not exist."""
    require_lab(inventory.cluster, inventory.file)
    requirements.require_root()
    unknown = [name for name in hosts if name not in inventory.cluster.hosts]
    if unknown:
        raise UsageFault(f"{', '.join(unknown)}: no such host in {inventory.file}", hint="kubewright lab status")
    return Instance(inventory.cluster.cluster)


def _link(instance: Instance, host: str) -> str:
    link = leftovers.link_of(instance.machine(host), network.links(instance))
    if link is None:
        raise nodes.not_running(host)
    return link
