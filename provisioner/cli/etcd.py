"""`etcd`: look after etcd's members and their data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from provisioner.cli.context import Context
from provisioner.cli.group import Group

if TYPE_CHECKING:
    from provisioner.orchestrate.look.etcd import MemberRow, Members

NOT_HEALTHY = 13


@click.group("etcd", cls=Group)
def etcd() -> None:
    """Look after etcd's members and their data."""


@etcd.command("members")
@click.pass_obj
def members(context: Context) -> int:
    """Show every member: how it is, how far it is, and how full; exit 13 when something is wrong with one.

    Reads only, over SSH: the API may be down, and etcd without a quorum.
    """
    context.enter_lab()
    from provisioner.orchestrate.look.etcd import look
    from provisioner.orchestrate.session.session import open_session

    with open_session(context.inventory, context.told, run=False) as session:
        seen = look(session)
    if context.wants_json:
        context.print_json(seen.to_json())
    else:
        click.echo(context.pasted("\n".join(_lines(seen))))
    return 0 if seen.healthy else NOT_HEALTHY


def _lines(seen: Members) -> Iterable[str]:
    health = "healthy" if seen.healthy else "needs attention"
    yield f"etcd of {seen.cluster}   {health}   cluster id {seen.cluster_id or '?'}   checked in {seen.seconds:.1f}s"
    table = [("HOST", "MEMBER", "STATE", "VERSION", "SIZE", "IN USE", "TERM", "INDEX", "LAG", "ALARMS")]
    yield from _table([*table, *(_cells(row) for row in seen.rows)])
    yield f"Quorum   {seen.quorum}"
    for heading, lines in (("Attention", seen.attention), ("Warning", seen.warnings)):
        if lines:
            yield heading
            yield from (f"  {line}" for line in lines)


def _cells(row: MemberRow) -> tuple[str, ...]:
    if not row.id:
        return (row.host, "-", row.state, *("-" for _ in range(7)))
    share = f" ({100 * row.size // row.quota} %)" if row.quota else ""
    return (row.host, row.id, row.state, row.version, f"{row.size / 1e6:.1f} MB{share}", f"{row.in_use / 1e6:.1f} MB",
            str(row.raft_term), str(row.raft_index), str(row.lag), " ".join(row.alarms) or "-")


def _table(table: Sequence[tuple[str, ...]]) -> Iterable[str]:
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
