"""`unlock`: take the cluster's lock away from a run that is over and could not give it back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from provisioner.cli.consent import agreed
from provisioner.cli.context import Context

if TYPE_CHECKING:
    from provisioner.decide.lock import Record


@click.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def unlock(context: Context, yes: bool) -> int:
    """Show who holds the cluster's lock, ask, and take it away from them.

    Seldom needed: a run that was killed on this machine loses the lock to the next one at once, a run on another
    machine one minute after its last sign of life. A run that still works stops at its next safe point, and the
    hosts take no more orders of it once the next run has begun.
    """
    context.enter_lab()
    from provisioner.orchestrate.lock import cluster_lock
    from provisioner.orchestrate.session.session import open_session

    with open_session(context.inventory, context.told, run=False) as session:
        name, held = session.cluster.cluster, cluster_lock.holders(session)
        if not held:
            return _told(context, f"No run holds the lock of cluster {name}.", unlocked=False)
        for record in held:
            click.echo(f"Cluster {name} is locked by {cluster_lock.told(record)}.\n  {_state(record)}", err=True)
        if not agreed(context, f"Unlock cluster {name}?", f"unlock cluster {name}", yes=yes):
            click.echo("It stays locked.", err=True)
            return 0
        for fault in cluster_lock.unlock(session, held).values():
            click.echo(f"{fault.message}; what is left there binds nobody", err=True)
    return _told(context, f"Cluster {name} is unlocked.", unlocked=True)


def _told(context: Context, sentence: str, *, unlocked: bool) -> int:
    if context.wants_json:
        context.print_json({"cluster": context.inventory.cluster.cluster, "unlocked": unlocked})
    else:
        click.echo(sentence)
    return 0


def _state(record: Record) -> str:
    """Say what is known of the owner now: when it was last heard of, and whether its process or a step goes on."""
    from provisioner.orchestrate.lock import process

    words = [f"last renewed {record.age:.0f} s ago"]
    if process.is_dead(record.process):
        words.append("its process on this machine is dead: the next run takes the lock over by itself")
    elif process.is_here(record.process):
        words.append(f"its process {record.process.get('pid')} runs on this machine")
    if record.busy:
        words.append(f"step {record.busy} works on a host now")
    return "; ".join(words)
