"""`check`: are the machines fit for their roles? Everything is told at once; nothing is changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from provisioner.cli import complete
from provisioner.cli.context import Context

if TYPE_CHECKING:
    from provisioner.orchestrate.plan.preflight import Report


@click.command()
@click.option("--skip", multiple=True, metavar="CHECK", shell_complete=complete.checks,
              help="Leave out a check; may be repeated.")
@click.option("--probe/--no-probe", default=None,
              help="Let all hosts try what new ones do, also in a cluster that runs, or none.")
@click.option("--explain", metavar="CHECK", shell_complete=complete.all_checks,
              help="Tell what a check asks, how, why, its limits and how to mend what it finds; asks no host.")
@click.pass_obj
def check(context: Context, skip: tuple[str, ...], probe: bool | None, explain: str | None) -> int:
    """Run every check on every host and tell all findings with their cures; exit 11 when one is an error.

    New hosts also try to reach what they need of each other, and how quick etcd's disk is, for about two seconds;
    --probe lets all hosts do so, also of a cluster that runs, and with more time (up to 20 s), --no-probe none.

    `-` stands where a question could be asked of nobody, `unseen` where there was no answer: neither is ok. Exit 12
    when no host lets us in.
    """
    if explain is not None:
        return _explained(context, explain)
    context.enter_lab()
    from provisioner.artifacts.supply import first_lock
    from provisioner.orchestrate.plan.preflight import known_checks, look
    from provisioner.orchestrate.session.session import open_session

    known_checks(skip)
    with open_session(context.inventory, context.told, run=False, lock=first_lock(context.inventory)) as session:
        report = look(session, skip, probe=probe)
    if context.wants_json:
        context.print_json({"cluster": context.inventory.cluster.cluster, **report.to_json()})
        return report.exit_code
    click.echo("\n".join(_text(report)))
    report.refuse(hint="")
    return 0


def _explained(context: Context, name: str) -> int:
    """Tell of one check; UsageFault with the nearest names where there is none of that name."""
    import textwrap

    from provisioner.operate.checks.explained import rows
    from provisioner.operate.checks.table import CHECKS, named

    one = CHECKS[named(name)]
    told = dict(rows(one))
    if context.wants_json:
        context.print_json({"name": one.name, **{word.replace(" ", "_"): text for word, text in told.items()}})
        return 0
    click.echo(f"{one.name}: {told.pop('asks for')}")
    for word, text in told.items():
        click.echo(textwrap.fill(text, 100, initial_indent=f"  {word:<8}", subsequent_indent=" " * 10,
                                 break_long_words=False, break_on_hyphens=False))
    return 0


def _text(report: Report) -> Iterable[str]:
    from provisioner.operate.checks.table import CHECKS
    from provisioner.report.findings import grouped, paragraph

    rows = [("CHECK", "RESULT", "HOSTS", "")]
    for one in CHECKS:
        word, hosts = report.result(one.name)
        rows.append((one.name, word, ", ".join(hosts) or _count(report, one.name), one.doc))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        yield "  ".join((*(cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True)), row[3])).rstrip()
    for group in grouped((*report.warnings, *report.unseen)):
        first, *cures = paragraph(group)
        yield from (f"{group.severity}: {first}", *cures)
    if report.probed is not None:
        yield str(report.probed)
    if not report.errors and report.beside is None:
        fit = f"All {report.hosts} hosts are fit" if report.hosts > 1 else "The host is fit"
        yield f"{fit}, as far as could be looked at." if report.unseen else f"{fit}."


def _count(report: Report, check: str) -> str:
    asked = report.answered[check]
    if report.result(check)[0] == "skipped":
        return "-"
    return str(asked) if asked == report.hosts else f"{asked} of {report.hosts}"
