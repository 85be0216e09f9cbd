"""`status`: ask every host and the API how they are."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from provisioner.cli.context import Context
from provisioner.cli.span import Span
from provisioner.errors import UsageFault
from provisioner.model.characters import visible
from provisioner.report.columns import in_line

if TYPE_CHECKING:
    from provisioner.orchestrate.look.status import HostStatus, Status

NOT_HEALTHY = 13
METRICS = "openmetrics"


def _form(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value:
        ctx.find_object(Context).output = value     # type: ignore[union-attr]


@click.command()
@click.option("-o", "--output", type=click.Choice(["text", "json", METRICS]), expose_value=False, is_eager=True,
              callback=_form, help="Form of the result on stdout; openmetrics is for Prometheus. Default: text.")
@click.option("--watch", "watches", is_flag=True,
              help="Look again and again, until Ctrl-C, with the run at work; each change where stdout is no terminal.")
@click.option("--every", type=Span(least=1), default="10s", show_default=True, metavar="TIME",
              help="With --watch: from one look to the next.")
@click.pass_obj
def status(context: Context, watches: bool, every: float) -> int:
    """Show every host's services, certificates and drift; exit 13 when something needs attention.

    Of --watch the exit code is that of the last look.
    """
    if watches and context.output == METRICS:
        raise UsageFault(f"--watch shows people and programs what changes; Prometheus asks by itself: -o {METRICS}",
                         hint="kubewright status --help")
    context.enter_lab()
    if watches:
        from provisioner.cli.watching import watch

        return watch(context, every)
    seen = seen_now(context)
    if context.output == METRICS:
        from provisioner.orchestrate.look.metrics import gauges
        from provisioner.report.openmetrics import exposition

        click.echo(exposition(gauges(seen, time.time())), nl=False)
    elif context.wants_json:
        context.print_json(seen.to_json())
    else:
        click.echo(context.pasted("\n".join(lines(seen))))
    return 0 if seen.healthy else NOT_HEALTHY


def seen_now(context: Context, *, quiet: bool = False) -> Status:
    """Ask every host and the API, and tell whom we wait for unless `quiet`; raises what `look` does."""
    from provisioner.orchestrate.look.status import look
    from provisioner.orchestrate.session.session import open_session

    with open_session(context.inventory, (lambda _: None) if quiet else context.told, run=False) as session:
        return look(session)


def _seen(host: HostStatus) -> tuple[str, str]:
    """Return how long its certificates last and how many differences it has; not seen is not none."""
    if host.drift is None:
        return "?", "?"
    return "-" if host.certs_days is None else f"{host.certs_days}d", str(host.drift or "-")


def lines(seen: Status) -> Iterable[str]:
    """Yield a look as a person reads it. What hosts said is in it, so nothing of it moves a terminal's cursor."""
    return (visible(line) for line in _lines(seen))


def _lines(seen: Status) -> Iterator[str]:
    if not seen.built:
        yield from (f"Cluster {seen.cluster}   {line}" for line in seen.attention[-1:])
        yield from (f"  {line}" for line in seen.attention[:-1])
        if seen.lock:
            yield f"Lock     {seen.lock}"
        return
    health = "healthy" if seen.healthy else "needs attention"
    vip = "" if seen.vip_holder == "-" else f" (VIP on {seen.vip_holder})"
    yield (f"Cluster {seen.cluster}   {health}   Kubernetes {seen.kubernetes}   API {seen.api}{vip}   "
           f"checked in {seen.seconds:.1f}s")
    table = [("HOST", "ROLES", "VERSION", "API", "ETCD", "KUBELET", "CERTS", "DRIFT")]
    table += [(h.host, h.roles, h.version, h.api, h.etcd, h.kubelet, *_seen(h)) for h in seen.hosts]
    yield from in_line(table)
    yield f"Quorum   {seen.quorum}"
    yield f"Snapshot {seen.snapshots}"
    if seen.trial:
        yield f"Trial    {seen.trial}"
    if seen.lock:
        yield f"Lock     {seen.lock}"
    for heading, told in (("Attention", seen.attention), ("Warning", seen.warnings)):
        if told:
            yield heading
            yield from (f"  {line}" for line in told)
