"""`certs`: look after certificates."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from provisioner.cli.context import Context
from provisioner.cli.group import Group
from provisioner.report.columns import in_line

if TYPE_CHECKING:
    from provisioner.orchestrate.look.certificates import Report, Row

NOT_VALID = 13
_HEADS = (("ca", "CA"), ("certificate", "CERTIFICATE"), ("kubeconfig", "KUBECONFIG"))


@click.group("certs", cls=Group)
def certs() -> None:
    """Look after certificates."""


@certs.command("check")
@click.pass_obj
def check(context: Context) -> int:
    """List every certificate and kubeconfig, on every host and here.

    Reads over SSH only: the API may be down. One line a certificate, with the earliest end among its hosts; -v shows
    each on each host. `due` works still and is renewed by the next `up`. Exit 13 when something expired, is missing, or
    does not belong to its CA or key.
    """
    context.enter_lab()
    from provisioner.cli.kubeconfig import written_here
    from provisioner.orchestrate.look.certificates import look
    from provisioner.orchestrate.session.session import open_session

    with open_session(context.inventory, context.told, run=False) as session:
        report = look(session, written_here(context.inventory))
    if context.wants_json:
        context.print_json(report.to_json())
    else:
        click.echo("\n".join(_lines(context, report)))
    return 0 if report.valid else NOT_VALID


def _lines(context: Context, report: Report) -> Iterable[str]:
    from provisioner.orchestrate.look.certificates import UP
    from provisioner.report.findings import lines

    if not report.rows:
        yield "No certificates yet: the first `kubewright up` makes them."
        return
    hosts = len({row.host for row in report.rows if row.host != "here"})
    counts = ", ".join(f"{sum(r.state == s for r in report.rows)} {s}" for s in ("ok", "due", "bad", "unused")
                       if s == "ok" or any(r.state == s for r in report.rows))
    yield f"Cluster {report.cluster}   {counts}   {hosts} hosts and here   checked in {report.seconds:.1f}s"
    yield from _each(report.rows) if context.verbose else _summary(report.rows)
    notes = lines(report.findings(_shown), below=UP)
    if notes:
        yield "Attention"
        yield from (f"  {note}" for note in notes)
    if any(row.state in ("due", "bad") for row in report.rows):
        yield f"Next: {context.command('up')} issues anew what is due or bad on the hosts"


def _summary(rows: Sequence[Row]) -> Iterable[str]:
    """Yield a line for each path: on how many hosts it is, and the row of it that ends first."""
    by_path: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        by_path.setdefault((row.kind, _shown(row)), []).append(row)
    for kind, head in _HEADS:
        table = [(head, "WHERE", "EXPIRES", "LEFT", "LIFE", "ISSUER", "")]
        for (of_kind, path), alike in by_path.items():
            if of_kind == kind:
                where = alike[0].host if len(alike) == 1 else f"{len(alike)} hosts"
                worst = next((s for s in ("bad", "due", "unused") if any(r.state == s for r in alike)), "")
                table.append((path, where, *_dates(min(alike, key=lambda row: row.not_after)), worst))
        yield from in_line(table) if len(table) > 1 else ()


def _each(rows: Sequence[Row]) -> Iterable[str]:
    table = [("HOST", "PATH", "EXPIRES", "LEFT", "LIFE", "ISSUER", "STATE", "BEGAN", "SUBJECT", "NAMES")]
    table += [(r.host, _shown(r), *_dates(r), r.state, r.not_before[:10] or "-", r.subject or "-",
               ",".join(r.names) or "-") for r in rows]
    return in_line(table)


def _shown(row: Row) -> str:
    """Return the path, on this machine as short as it can be pasted from here."""
    near = row.host == "here" and Path(row.path).is_relative_to(Path.cwd())
    return os.path.relpath(row.path) if near else row.path


def _dates(row: Row) -> tuple[str, str, str, str]:
    if row.days_left is None or row.life_left is None:
        return "-", "-", "-", "-"
    return row.not_after[:10], f"{row.days_left}d", f"{row.life_left * 100:.0f} %", row.issuer or "-"
