"""`ready`: wait until the cluster is healthy; one line for a script."""

from __future__ import annotations

import time

import click

from provisioner.cli.context import Context
from provisioner.cli.span import Span

IN_ONE_LOGIN = 20.0     # seconds; then everything is looked at anew, whatever the ways to it have become


@click.command()
@click.option("--timeout", type=Span(), default="5m", show_default=True, metavar="TIME",
              help="How long to wait: 60s, 10m, 1h.")
@click.pass_obj
def ready(context: Context, timeout: float) -> int:
    """Wait until every host, etcd, the API and all nodes are healthy; exit 13 when they are not in time.

    It asks what `status` and the last gate of `up` ask. Where nothing is built yet and no run is at work, waiting would
    change nothing: exit 13 at once.
    """
    context.enter_lab()
    from provisioner.errors import GateFailed, KubewrightError
    from provisioner.orchestrate.gates.health import gets_well
    from provisioner.orchestrate.look.status import look_closely
    from provisioner.orchestrate.session.session import open_session
    from provisioner.report.findings import lines

    end = time.monotonic() + timeout
    while True:
        try:
            with open_session(context.inventory, context.told, run=False) as session:
                seen, sight = look_closely(session)
                waiting = seen.attention
                # What the cluster as a whole lacks is waited for in this login, and then all is asked anew.
                if waiting and waiting == lines(sight.ill):
                    waiting = lines(gets_well(session, sight, min(end, time.monotonic() + IN_ONE_LOGIN)))
                    if not waiting:
                        seen, _ = look_closely(session)
                        waiting = seen.attention
            hopeless = not seen.built and not seen.lock
        except KubewrightError as fault:
            if fault.exit_code in (10, 15, 64):
                raise
            waiting, hopeless = [fault.message], False
        if not waiting:
            click.echo(f"Cluster {context.inventory.cluster.cluster} is healthy.")
            return 0
        if hopeless:
            raise GateFailed(f"cluster {context.inventory.cluster.cluster} is not built yet", hint="kubewright up",
                             code="not-built", details=waiting[:-1])
        if time.monotonic() >= end:
            raise GateFailed(f"not healthy after {timeout:.0f} s", details=waiting, hint="kubewright status")
        time.sleep(1.0)
