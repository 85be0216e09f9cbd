"""`probe`: measure from the hosts whether the cluster serves."""

from __future__ import annotations

import time

import click

from provisioner.cli.context import Context
from provisioner.cli.span import Span


@click.command()
@click.option("--for", "seconds", type=Span(1), default="60s", show_default=True, metavar="TIME",
              help="How long: 60s, 10m, 1h.")
@click.option("--slo", multiple=True, metavar="BUDGET",
              help="What may go wrong: failures=N, cuts=N, gap=500ms (or 2s); may be repeated. Default: failures=0.")
@click.pass_obj
def probe(context: Context, seconds: float, slo: tuple[str, ...]) -> int:
    """Ask the cluster again and again from its hosts, and say how often and how long it did not answer.

    Exit 13 when that is more than allowed, or when an acknowledged write was lost. Ctrl-C ends it early, with the
    result until then.
    """
    import sys

    from provisioner.model.availability import budget_of

    budget = budget_of(slo or ("failures=0",))
    context.enter_lab()
    from provisioner.errors import Interrupted
    from provisioner.orchestrate.session.session import open_session
    from provisioner.orchestrate.watch.prober import Prober
    from provisioner.report.availability import details, headline, table
    from provisioner.report.console import Console

    with open_session(context.inventory, context.told, run=False) as session:
        session.run.emit = Console(sys.stderr, verbose=context.verbose)
        prober = Prober(session, budget)
        prober.start()
        early = False
        try:
            time.sleep(seconds)
        except KeyboardInterrupt:
            early = True
        seen = prober.stop()
    if context.wants_json:
        context.print_json(seen.to_json())
    else:
        click.echo("\n".join([*table(seen), *details(seen), f"In {seen.seconds:.0f} s: {headline(seen)}"]))
    prober.judge(seen)
    if early:
        raise Interrupted(f"stopped after {seen.seconds:.0f} s of {seconds:.0f} s")
    return 0
