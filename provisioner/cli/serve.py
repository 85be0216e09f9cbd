"""`serve`: a page on this machine's loopback that shows the cluster as it is now; it reads only, and ends by itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from provisioner.cli.context import Context
from provisioner.cli.span import Span

if TYPE_CHECKING:
    from provisioner.model.inventory import Inventory

_WATCHED = 30.0     # seconds: hosts are only asked while somebody has the page open, which asks every 2


@click.command()
@click.option("--for", "lasts", type=Span(least=1), default="1h", show_default=True, metavar="TIME",
              help="When it ends by itself.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, metavar="PORT", help="Default: any that is free.")
@click.option("--every", type=Span(least=1), default="10s", show_default=True, metavar="TIME",
              help="From one look to the next, while the page is open.")
@click.pass_obj
def serve(context: Context, lasts: float, port: int, every: float) -> None:
    """Serve a page with what status, doctor, certs check and runs tell, to this machine alone; changes nothing.

    Prints the page's address. Its token stands behind the `#`: whoever has it may read, nobody else. Ends by Ctrl-C.
    """
    from provisioner.errors import UsageFault
    from provisioner.report.serving import Site, listener, serving

    inventory = context.inventory
    try:
        at = listener(port)         # before a lab's network is entered: the browser is outside of it
    except OSError as fault:
        raise UsageFault(f"--port {port}: {fault.strerror}", hint="kubewright serve") from None
    context.enter_lab()
    looker = Looker(context, every)
    with serving(Site(looker.state, lambda run: _report(context, run)), at) as address:
        click.echo(address)
        click.echo(f"Cluster {inventory.cluster.cluster}, for {lasts:.0f} s; Ctrl-C ends it.", err=True)
        try:
            looker.go_on_for(lasts)
        except KeyboardInterrupt:
            click.echo("Ended.", err=True)


def _report(context: Context, run_id: str) -> str | None:
    """Return a run's report, of those that this machine has the events of."""
    from provisioner.orchestrate.session import runs
    from provisioner.report.html import report_html
    from provisioner.report.story import story_of

    found = next((run for run in runs.here(context.inventory) if run.id == run_id), None)
    if found is None:
        return None
    told = runs.events(runs.place(context.inventory, found.id))
    return report_html(story_of(found.id, told, outcome=found.outcome), context.pasted)


class Looker:
    """Looks at the cluster as long as somebody asks, and keeps what it saw last."""

    def __init__(self, context: Context, every: float) -> None:
        self._context = context
        self._every = every
        self._asked = threading.Event()
        self._seen: Mapping[str, Any] = {"looked": 0, "error": ""}

    def state(self) -> dict[str, Any]:
        """Return the last look, and the runs as they are now."""
        from provisioner.cli.watching import present

        self._asked.set()
        inventory = self._context.inventory
        return {"cluster": inventory.cluster.cluster, **self._seen, "present": "\n".join(present(inventory)),
                "runs": _runs(inventory)}

    def go_on_for(self, seconds: float) -> None:
        """Look until then; a first time at once, so that the page has something when it is opened."""
        end = time.monotonic() + seconds
        self._asked.set()
        while (left := end - time.monotonic()) > 0:
            if self._asked.wait(min(left, _WATCHED)):
                self._asked.clear()
                self.look()
                time.sleep(max(0.0, min(self._every, end - time.monotonic())))

    def look(self) -> None:
        """Look once; of a look that fails the one before stays, with the fault beside it."""
        from provisioner.cli.failure import failure_text
        from provisioner.errors import KubewrightError

        try:
            self._seen = seen(self._context)
        except KubewrightError as fault:
            self._seen = {**self._seen, "error": failure_text(fault, self._context.pasted)}


def seen(context: Context) -> dict[str, Any]:
    """Look at everything once and return the document of the page: no secret is in what these verbs tell."""
    from provisioner.cli.kubeconfig import written_here
    from provisioner.orchestrate.look import certificates, doctor
    from provisioner.orchestrate.session.session import open_session
    from provisioner.report.plan_text import plan_text

    inventory, kubeconfigs = context.inventory, written_here(context.inventory)
    with open_session(inventory, lambda _: None, run=False) as session:
        checkup = doctor.look(session, kubeconfigs)
        status = checkup.status
        differs = bool(session.the_plan.changes) and status.built
        differences = plan_text(session.the_plan, session.cluster, seconds=0, diff=True) if differs else ""
        again = session.towards(inventory, session.target.artifacts)    # what it observes is not what was observed here
        rows = certificates.look(again, kubeconfigs).to_json()["certificates"]
    told, shown = checkup.to_json(), status.to_json()
    return {"looked": time.time(), "error": "", "healthy": checkup.healthy, "seconds": checkup.seconds,
            **{key: shown[key] for key in ("kubernetes", "api", "vip_holder", "quorum", "snapshots", "lock", "hosts")},
            "findings": [{**one, "cure": context.pasted(one["cure"])} for one in told["findings"]],
            "unseen": told["not_looked_at"], "differences": differences, "certificates": rows}


def _runs(inventory: Inventory) -> list[dict[str, Any]]:
    from provisioner.orchestrate.session import runs

    return [{"id": run.id, "verb": run.origin.verb, "who": f"{run.origin.who} on {run.origin.machine}",
             "outcome": run.outcome, "seconds": run.seconds or 0, "changes": run.changes}
            for run in runs.here(inventory)[:50]]
