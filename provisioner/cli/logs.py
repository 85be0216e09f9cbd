"""`logs`: what a service on a host wrote."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import click

from provisioner.cli import complete
from provisioner.cli.context import Context

if TYPE_CHECKING:
    from provisioner.operate.logs import Line

LINES = 50


@click.command()
@click.argument("host", shell_complete=complete.hosts)
@click.argument("unit", shell_complete=complete.units)
@click.option("-f", "--follow", is_flag=True, help="Show new lines as they come, until Ctrl-C.")
@click.option("-n", "--lines", type=click.IntRange(min=0), metavar="N",
              help=f"The newest N lines. Default: {LINES}, with --since all.")
@click.option("--since", default="", metavar="TIME", help="Not before: 10m, 2h, '2026-01-31 12:00', today.")
@click.pass_obj
def logs(context: Context, host: str, unit: str, follow: bool, lines: int | None, since: str) -> None:
    """Show the journal of UNIT on HOST; `etcd` means etcd.service. Times are the host's, in UTC."""
    context.enter_lab()
    from provisioner.errors import UsageFault
    from provisioner.operate.logs import read
    from provisioner.transport.pool import Pool
    from provisioner.transport.remote import SshHosts
    from provisioner.transport.target import targets_of

    targets = targets_of(context.inventory)
    if host not in targets:
        raise UsageFault(f"the inventory has no host {host}", details=[f"hosts: {' '.join(targets)}"],
                         hint=f"kubewright logs {next(iter(targets))} {unit}")
    if lines is None and not since:
        lines = LINES
    def show(line: Line) -> None:
        (_json if context.wants_json else _text)(host, line)
        context.answered = True         # a document behind lines would be none of them

    with Pool(targets) as pool:
        try:
            read(SshHosts(pool).on(host), unit, show, lines=lines, since=since, follow=follow)
        except KeyboardInterrupt:
            if not follow:      # a log that is followed has no other end
                raise


def _text(host: str, line: Line) -> None:
    from provisioner.operate.logs import printable

    first, *rest = printable(line.message)
    click.echo("\n".join([f"{_moment(line)} {line.process}[{line.pid}]: {first}", *(f"    {more}" for more in rest)]))


def _json(host: str, line: Line) -> None:
    from dataclasses import asdict

    click.echo(json.dumps({"schema_version": 1, "host": host, **asdict(line)}, ensure_ascii=False))


def _moment(line: Line) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(line.time)) + f".{int(line.time * 1000) % 1000:03d}Z"
