"""`doctor`: what ails a cluster that runs, what that means for its users now, and what to type."""

from __future__ import annotations

import json
import sys
import textwrap
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from provisioner.cli import complete
from provisioner.cli.context import Context
from provisioner.cli.span import Span

if TYPE_CHECKING:
    from provisioner.operate.doctor.diagnosis import Told
    from provisioner.orchestrate.look.doctor import Checkup

NOT_HEALTHY = 13
WIDTH = 110
INDENT = 9          # the longest of the words before a finding, and two blanks
ALSO = 160          # characters of what follows from something; `-o json` has all of them
CURES = 4           # of one cause on many hosts: the others are the same with another name


@click.command()
@click.option("--watch", is_flag=True, help="Look again and again, until Ctrl-C.")
@click.option("--every", type=Span(), default="10s", show_default=True, metavar="TIME",
              help="With --watch: from one look to the next.")
@click.option("--explain", metavar="NAME", shell_complete=complete.diagnoses,
              help="Say what a finding's name stands for; asks no host.")
@click.option("--bundle", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Write what somebody needs who helps into FILE (.tar.gz), without secrets.")
@click.pass_obj
def doctor(context: Context, watch: bool, every: float, explain: str | None, bundle: Path | None) -> int:
    """Say what ails the cluster, most urgent first, with what it means and what to type; reads only.

    It asks all that `status` asks, and each host how it lives; also while the API is down, hosts are, or etcd has no
    majority. Exit 13 when something is wrong or a host cannot be looked at. Warnings do not count.
    """
    if explain is not None:
        return _explain(context, explain)
    if bundle is not None:
        from provisioner.errors import UsageFault
        from provisioner.orchestrate.session import private

        if watch:
            raise UsageFault("--bundle is of one look, --watch of many", hint="kubewright doctor --help")
        private.check(bundle, "the bundle")
    context.enter_lab()
    while watch:
        _watch(context)
        time.sleep(every)
    seen = _look(context, bundle)
    _show(context, seen, again=False)
    return 0 if seen.healthy else NOT_HEALTHY


def _watch(context: Context) -> None:
    """Look and show; what fails is shown as well, and may be over at the next look."""
    from provisioner.cli.failure import failure_document, failure_text
    from provisioner.errors import Interrupted, KubewrightError, UsageFault

    try:
        _show(context, _look(context, None), again=True)
    except (Interrupted, UsageFault):
        raise
    except KubewrightError as fault:
        if context.wants_json:
            click.echo(json.dumps({"schema_version": 1, **failure_document(fault, context.pasted)}, ensure_ascii=False))
        else:
            click.echo(failure_text(fault, context.pasted), err=True)


def _look(context: Context, bundle: Path | None) -> Checkup:
    from provisioner.cli.kubeconfig import written_here
    from provisioner.orchestrate.look.doctor import look
    from provisioner.orchestrate.session.session import open_session

    with open_session(context.inventory, context.told, run=False) as session:
        seen = look(session, written_here(context.inventory))
        if bundle is not None:
            from provisioner.orchestrate.look import bundle as bundles

            for line in bundles.write(session, seen, bundle):
                click.echo(line, err=True)
    return seen


def _show(context: Context, seen: Checkup, *, again: bool) -> None:
    if context.wants_json and again:
        click.echo(json.dumps({"schema_version": 1, **seen.to_json()}, ensure_ascii=False))
    elif context.wants_json:
        context.print_json(seen.to_json())
    else:
        if again and sys.stdout.isatty():
            click.echo("\x1b[H\x1b[2J", nl=False)
        click.echo(context.pasted("\n".join(lines(seen))))
    sys.stdout.flush()


def _explain(context: Context, name: str) -> int:
    from provisioner.errors import UsageFault
    from provisioner.operate.doctor.explain import NAMES, explained

    if name not in NAMES:
        raise UsageFault(f"doctor finds nothing of the name {name}", details=[f"names: {' '.join(NAMES)}"],
                         hint="kubewright doctor --help")
    document = explained(name)
    if context.wants_json:
        context.print_json(document)
    else:
        for key, text in document.items():
            click.echo(context.pasted(f"{key:<9}{text}"))
    return 0


def lines(seen: Checkup) -> Iterable[str]:
    """Yield a look as a person reads it: short where all is well."""
    status, told = seen.status, seen.diagnosis.told
    wrong = sum(one.finding.severity != "warning" for one in told)
    notes = len(told) - wrong
    word = "healthy" if seen.healthy else f"{_count(wrong, 'problem')}"
    noted = f", {_count(notes, 'note')}" if notes else ""
    yield (f"Cluster {status.cluster}   {word}{noted}   Kubernetes {status.kubernetes}   "
           f"{_count(len(status.hosts), 'host')}   looked at in {seen.seconds:.1f}s")
    if status.built:
        yield f"etcd     {seen.margin}"
        yield f"API      {_api(seen)}"
        yield f"Certs    {_certificates(seen)}"
    if status.lock:
        yield f"Lock     {status.lock}"
    yield from _told(told)
    yield from _unseen(seen)


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _api(seen: Checkup) -> str:
    status, (serving, servers) = seen.status, seen.in_service
    vip = "" if status.vip_holder == "-" else f", VIP on {status.vip_holder}"
    return f"{status.api}{vip}; {serving} of {servers} servers in service in every HAProxy"


def _certificates(seen: Checkup) -> str:
    return "not seen" if seen.least_days is None else f"the first ends in {_count(seen.least_days, 'day')}"


def _told(told: Iterable[Told]) -> Iterable[str]:
    """Yield a paragraph for each cause: how urgent, who and what; what it means; what follows; what to type."""
    from provisioner.operate.doctor.diagnosis import COUNTED, NOT_TRIED, grouped, without_host

    for group in grouped(told):
        one, hosts, finding = group.one, group.hosts, group.one.finding
        who = f"{', '.join(hosts)}: " if hosts else ""
        word = "UNSEEN" if finding.severity == "unseen" else one.urgency.upper()
        yield ""
        yield from _wrapped(f"{word:<{INDENT}}", f"{who}{finding.saw}")
        if one.means:
            yield from _wrapped(" " * INDENT, without_host(one.means, finding.host, hosts))
        for effect in (f for f in one.also if COUNTED not in f.saw and not f.saw.endswith(NOT_TRIED)):
            of = "" if effect.host in ("", finding.host) else f"{effect.host}: "
            yield from _wrapped(" " * INDENT, f"so also: {of}{textwrap.shorten(effect.saw, ALSO, placeholder=' ...')}")
        yield from (f"{' ' * INDENT}> {cure}" for cure in group.cures[:CURES])
        if len(group.cures) > CURES:
            yield f"{' ' * INDENT}  and so on the other {len(group.cures) - CURES} hosts"


def _wrapped(first: str, text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=" " * INDENT, break_long_words=False,
                         break_on_hyphens=False)


def _unseen(seen: Checkup) -> Iterable[str]:
    """Yield what was not looked at, with why: those of one reason in one line."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for finding in seen.diagnosis.unseen:
        reasons.setdefault((finding.check, finding.saw), []).append(finding.host)
    if reasons:
        yield ""
    for (check, why), hosts in reasons.items():
        yield from _wrapped(" " * 0, f"Not looked at: {check} on {', '.join(hosts)}: {why}")
