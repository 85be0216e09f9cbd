"""`kubewright lab`: local nodes with a real sshd, in a network of their own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from provisioner.cli import complete
from provisioner.cli.group import Group

if TYPE_CHECKING:
    from provisioner.cli.context import Context
    from provisioner.lab.lifecycle import NodeStatus

NOT_HEALTHY = 13


@click.group("lab", cls=Group)
def lab() -> None:
    """Local nodes to try everything on: real machines to SSH, in a network of their own with no way out."""


@lab.command("up")
@click.pass_obj
def up(obj: Context) -> None:
    """Boot the nodes that do not run; those that do are left alone."""
    from provisioner.lab import lifecycle

    lifecycle.up(obj.inventory, _say)


@lab.command("down")
@click.option("--yes", is_flag=True, help="Accepted for scripts; a lab is thrown away without asking.")
@click.pass_obj
def down(obj: Context, yes: bool) -> None:
    """Remove the nodes and everything they left on this machine."""
    from provisioner.lab import lifecycle

    lifecycle.down(obj.inventory, _say)


@lab.command("reset")
@click.argument("hosts", nargs=-1, metavar="[HOST]...", shell_complete=complete.hosts)
@click.option("--yes", is_flag=True, help="Accepted for scripts; a lab is thrown away without asking.")
@click.pass_obj
def reset(obj: Context, hosts: tuple[str, ...], yes: bool) -> None:
    """Replace the nodes (all, or those named) by fresh, empty ones."""
    from provisioner.lab import lifecycle

    lifecycle.reset(obj.inventory, _say, hosts)


@lab.command("snapshot")
@click.argument("name", required=False)
@click.option("--remove", is_flag=True, help="Delete the snapshot of that name.")
@click.pass_obj
def snapshot(obj: Context, name: str | None, remove: bool) -> None:
    """Keep what the nodes are now under NAME; without a NAME, list what is kept.

    Running nodes lose their power for it and are booted again. `lab down` removes all snapshots.
    """
    from provisioner.errors import UsageFault
    from provisioner.lab import keeping

    if name and remove:
        keeping.remove(obj.inventory, name, _say)
    elif name:
        keeping.snapshot(obj.inventory, name, _say)
    elif remove:
        raise UsageFault("lab snapshot --remove: no name given", hint="kubewright lab snapshot")
    else:
        _list_snapshots(obj)


@lab.command("restore")
@click.argument("name")
@click.option("--old", is_flag=True, help="Also one that another version of Kubewright, or other artifacts, made.")
@click.pass_obj
def restore(obj: Context, name: str, old: bool) -> None:
    """Replace all nodes by what they were in the snapshot NAME, and boot them.

    What the inventory knows of the cluster (its secrets, what was last applied) comes back with them; cluster.yaml
    stays as it is.
    """
    from provisioner.lab import keeping

    keeping.restore(obj.inventory, name, _say, old=old)


@lab.command("status")
@click.pass_obj
def status(obj: Context) -> int:
    """Show which nodes run and answer SSH; exit code 13 when one of the inventory does not."""
    from dataclasses import asdict

    from provisioner.lab import lifecycle

    rows = lifecycle.status(obj.inventory)
    healthy = all(row.ssh for row in rows if row.state != "unlisted")
    if obj.wants_json:
        obj.print_json({"lab": obj.inventory.cluster.cluster, "healthy": healthy, "nodes": [asdict(r) for r in rows]})
    else:
        _print_table(rows)
    return 0 if healthy else NOT_HEALTHY


@lab.command("exec", context_settings={"allow_interspersed_args": False})
@click.option("--here", is_flag=True, help="Run on this machine, inside the lab's network.")
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[HOST] -- COMMAND...")
@click.pass_obj
def exec_(obj: Context, here: bool, words: tuple[str, ...]) -> None:
    """Run a command as root on a node, or here inside the lab's network; its exit code is ours."""
    from provisioner.errors import UsageFault
    from provisioner.lab import lifecycle

    if here:
        _become(obj, words)
    command = words[2:] if words[1:2] == ("--",) else words[1:]
    if not command:
        raise UsageFault("lab exec: no command given", hint=f"kubewright lab exec {words[0]} -- uptime")
    _become(obj, lifecycle.access(obj.inventory, words[0], command))


@lab.command("ssh")
@click.argument("host", shell_complete=complete.hosts)
@click.pass_obj
def ssh(obj: Context, host: str) -> None:
    """Log in to a node."""
    from provisioner.lab import lifecycle

    _become(obj, lifecycle.access(obj.inventory, host, ()))


@lab.command("trust")
@click.pass_obj
def trust(obj: Context) -> None:
    """Pin the host keys of Vagrant's machines and find their private keys."""
    from pathlib import Path

    from provisioner.lab import vagrant

    for line in vagrant.trust(obj.inventory, Path.cwd()):
        click.echo(line)


@lab.group("fault", cls=Group)
def fault() -> None:
    """Break a node on purpose, to see what the cluster makes of it; `undo` ends every fault."""


@fault.command("kill")
@click.argument("host", shell_complete=complete.hosts)
@click.pass_obj
def fault_kill(obj: Context, host: str) -> None:
    """Take the node's power away; its disk stays."""
    from provisioner.lab import faults

    faults.kill(obj.inventory, host)
    _say(f"{host}: has no power")


@fault.command("cut")
@click.argument("host", shell_complete=complete.hosts)
@click.pass_obj
def fault_cut(obj: Context, host: str) -> None:
    """Pull the node's network cable."""
    from provisioner.lab import faults

    faults.cut(obj.inventory, host)
    _say(f"{host}: its cable is pulled")


@fault.command("drop")
@click.argument("host", shell_complete=complete.hosts)
@click.option("--port", type=click.IntRange(1, 65535), help="Only TCP and UDP of this port.")
@click.option("--peer", metavar="HOST", shell_complete=complete.hosts, help="Only what it exchanges with this host.")
@click.pass_obj
def fault_drop(obj: Context, host: str, port: int | None, peer: str | None) -> None:
    """Lose the node's packets without a sign: its link stays up."""
    from provisioner.lab import faults
    from provisioner.lab.filters import Drop

    faults.drop(obj.inventory, host, port, peer)
    _say(f"{host}: dropping {Drop(host, port, peer)}")


@fault.command("pause")
@click.argument("host", shell_complete=complete.hosts)
@click.argument("unit", shell_complete=complete.units)
@click.pass_obj
def fault_pause(obj: Context, host: str, unit: str) -> None:
    """Stop a unit's main process with SIGSTOP: it hangs, and keeps its connections."""
    from provisioner.lab import faults

    faults.pause(obj.inventory, host, unit)
    _say(f"{host}: {faults.full_name(unit)} is stopped")


@fault.command("inject")
@click.argument("host", shell_complete=complete.hosts)
@click.argument("names", nargs=-1, required=True, metavar="DEFECT...")
@click.pass_obj
def fault_inject(obj: Context, host: str, names: tuple[str, ...]) -> None:
    """Give the node defects that `check` finds; `kubewright lab fault list` names them."""
    from provisioner.lab import faults
    from provisioner.lab.defects.table import named

    faults.give(obj.inventory, host, names)
    for defect in named(names):
        _say(f"{host}: {defect.says}")


@fault.command("list")
@click.pass_obj
def fault_list(obj: Context) -> None:
    """Name every defect that `inject` can give, what it is, and the check that finds it."""
    from provisioner.lab.defects.table import DEFECTS

    if obj.wants_json:
        obj.print_json({"defects": [{"name": d.name, "says": d.says, "check": d.check, "at": d.at, "alone": d.alone}
                                    for d in DEFECTS]})
        return
    for defect in DEFECTS:
        click.echo(f"{defect.name:<20} {defect.check:<16} {defect.says}")


@fault.command("undo")
@click.argument("hosts", nargs=-1, metavar="[HOST]...", shell_complete=complete.hosts)
@click.pass_obj
def fault_undo(obj: Context, hosts: tuple[str, ...]) -> None:
    """End every fault on all nodes, or on those named; a killed one is booted."""
    from provisioner.lab import faults

    undone = faults.undo(obj.inventory, hosts)
    for one in undone:
        _say(f"{one.host}: no longer {one}")
    if not undone:
        _say("no fault was in force")


def _become(obj: Context, command: Sequence[str]) -> None:
    """Enter the lab's network and become the command, so that signals, terminal and exit code are its own."""
    from provisioner.errors import UsageFault
    from provisioner.lab.lifecycle import instance_of
    from provisioner.lab.network import enter_namespace

    enter_namespace(instance_of(obj.inventory).name)
    try:
        os.execvp(command[0], list(command))  # noqa: S606  # no shell is the point
    except OSError as error:
        raise UsageFault(f"{command[0]}: {error.strerror}", hint="kubewright lab exec --help") from None


def _print_table(rows: Sequence[NodeStatus]) -> None:
    click.echo(f"{'HOST':<12} {'ADDRESS':<15} {'STATE':<9} {'SSH':<4} {'MEMORY':>8}  {'PID':<8} FAULTS")
    for row in rows:
        memory = f"{row.memory_mib} MiB" if row.memory_mib is not None else "-"
        click.echo(f"{row.name:<12} {row.address or '-':<15} {row.state:<9} {'ok' if row.ssh else '-':<4} "
                   f"{memory:>8}  {row.pid or '-':<8} {', '.join(row.faults) or '-'}")


def _list_snapshots(obj: Context) -> None:
    from provisioner.lab import keeping

    rows = keeping.listed(obj.inventory)
    if obj.wants_json:
        obj.print_json({"lab": obj.inventory.cluster.cluster, "snapshots": [
            {"name": kept.name, "taken": kept.taken, "nodes": list(kept.nodes), "refused": list(faults)}
            for kept, faults in rows]})
        return
    for kept, faults in rows:
        click.echo(f"{kept.name:<20} {kept.taken}  {', '.join(kept.nodes)}")
        for fault in faults:
            click.echo(f"  would be refused: {fault}")
    if not rows:
        _say("no snapshot yet: kubewright lab snapshot healthy")


def _say(text: str) -> None:
    click.echo(text, err=True)
