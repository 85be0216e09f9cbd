"""`etcd`: look after etcd's members and their data."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from provisioner.cli.context import Context
from provisioner.cli.group import Group
from provisioner.report.columns import in_line

if TYPE_CHECKING:
    from provisioner.model.plan import Plan
    from provisioner.orchestrate.look.etcd import MemberRow, Members
    from provisioner.orchestrate.run.verb import Consent

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


@etcd.command("snapshot")
@click.option("--out", "file", type=click.Path(dir_okay=False, path_type=Path), default=None,
              help="File to write (0600). Default: one beside the inventory, named by the time.")
@click.pass_obj
def snapshot(context: Context, file: Path | None) -> int:
    """Take a snapshot of one member, read it back, and keep it here, encrypted to the operators.

    Beside it lie FILE.json, which says whose data it is, and FILE.keys with the CAs' and the encryption's keys as they
    are now, encrypted too: with the three a cluster can be restored. Changes nothing on any host.
    """
    import time

    from provisioner.orchestrate.session import private

    if file is not None:
        private.check(file, "the snapshot")
    context.enter_lab()
    from provisioner.orchestrate.look import snapshots
    from provisioner.orchestrate.session.session import open_session

    began = time.monotonic()
    with open_session(context.inventory, context.told, run=False) as session:
        target = file or snapshots.default_file(session, time.time())
        private.make_directory(target.parent, "the snapshot")
        taken = snapshots.take(session, target)
    if context.wants_json:
        context.print_json({"file": str(target), **taken.to_json()})
    else:
        click.echo(f"Wrote {target}: {taken.keys} keys at revision {taken.revision}, {taken.size / 1e6:.1f} MB from "
                   f"{taken.member} in {time.monotonic() - began:.1f}s.")
        click.echo(f"Next: {context.command(f'etcd restore --rehearse {target}')}", err=True)
    return 0


@etcd.command("restore")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--rehearse", is_flag=True, help="Only prove that it can be restored, here; no host is asked anything.")
@click.option("--allow", multiple=True, help="What is refused otherwise, by its name.",
              type=click.Choice(["snapshot-without-hash", "snapshot-without-manifest", "members-differ"]))
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--events", is_flag=True, help="Write the run's events as JSON lines to stdout.")
@click.pass_obj
def restore(context: Context, file: Path, rehearse: bool, allow: tuple[str, ...], yes: bool, events: bool) -> int:
    """Put etcd's data back to what a snapshot holds, on every member.

    It is rehearsed first, always: a member is started from it here, and its keys are compared. Then what is lost and
    what comes back is shown and asked for. API servers and controllers stop, every member is made anew beside its
    data, which is kept, and all of it is started and proved; Pods run on. Stopped or killed: the same command again.
    """
    if rehearse:
        return _rehearse(context, file, allow)
    import time

    from provisioner.cli.change import carry_out
    from provisioner.cli.consent import agreed
    from provisioner.orchestrate.run.options import Intent

    began = time.monotonic()

    def ask(plan: Plan, consent: Consent) -> bool:
        click.echo("\n".join(_losses(plan, file)), err=True)
        return agreed(context, consent.question, consent.doing, yes=yes)

    return carry_out(
        context, Intent("etcd restore", allow=allow, file=file.absolute()), ask,
        lambda done: f"etcd holds what {file} holds, on every member, proved in {time.monotonic() - began:.1f}s.\n"
                     f"The data of before is kept on the members' hosts, in /var/lib/etcd: remove it when all is well.",
        events=events)


@etcd.command("recover")
@click.option("--allow", multiple=True, help="What is refused otherwise, by its name.",
              type=click.Choice(["majority-has-data", "members-differ"]))
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--events", is_flag=True, help="Write the run's events as JSON lines to stdout.")
@click.pass_obj
def recover(context: Context, allow: tuple[str, ...], yes: bool, events: bool) -> int:
    """Found etcd anew from the member that is left, when the data of the majority is gone for ever.

    A snapshot of the survivor that is furthest is taken and kept here, proved, and restored on every member's host:
    nothing that it knew to be committed is lost. The end of its log, of which it has not heard that a majority has it,
    is in no snapshot. Refused while a majority serves, or has its data. Stopped or killed: as it says then.
    """
    from provisioner.cli.change import carry_out
    from provisioner.cli.consent import agreed
    from provisioner.orchestrate.run.options import Intent

    def ask(plan: Plan, consent: Consent) -> bool:
        click.echo("\n".join(_losses(plan, Path("what the survivor has"))), err=True)
        return agreed(context, consent.question, consent.doing, yes=yes)

    return carry_out(context, Intent("etcd recover", allow=allow), ask,
                     lambda done: "etcd holds what the survivor had, on every member.", events=events)


@etcd.command("defrag")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--events", is_flag=True, help="Write the run's events as JSON lines to stdout.")
@click.pass_obj
def defrag(context: Context, yes: bool, events: bool) -> int:
    """Give the room that deleted data took back to the disks, one member after the other, the leader last.

    Each API server is taken out of every HAProxy while its member is busy, and another member leads. Where there is
    room again, the alarm NOSPACE is ended.
    """
    from provisioner.cli.change import carry_out
    from provisioner.cli.consent import agreed
    from provisioner.orchestrate.run.options import Intent

    def ask(plan: Plan, consent: Consent) -> bool:
        click.echo("\n".join(in_line([(c.host, c.reason) for c in plan.changes])), err=True)
        return agreed(context, consent.question, consent.doing, yes=yes)

    return carry_out(context, Intent("etcd defrag"), ask, lambda done: "Every member is defragmented.", events=events)


def _losses(plan: Plan, file: Path) -> Iterable[str]:
    yield f"Cluster {plan.cluster}: etcd's data goes back to {file}, which was proved to be restorable"
    told = [(v.path, v.sentence) for v in plan.verdicts]
    yield from (f"  {line}" for line in in_line(told)) if told else ["  nothing was written since then"]
    yield ("  The API is away for about a minute; Pods run on. The data of before is kept beside it on each host.")


def _rehearse(context: Context, file: Path, allow: tuple[str, ...]) -> int:
    from provisioner.operate.snapshots import note_proof
    from provisioner.orchestrate.look import snapshots
    from provisioner.orchestrate.session.session import open_session

    with open_session(context.inventory, context.told, run=False) as session:
        proof, _ = snapshots.rehearsed(session, snapshots.opened(session, file, allow))
    note_proof(file, proof)
    if context.wants_json:
        context.print_json({"file": str(file), **proof.to_json()})
        return 0
    hashed = {True: "the same hash", False: "another hash", None: "no hash to compare"}[proof.hash]
    secret = f"{proof.secret} decrypted" if proof.secret else "no Secret in it"
    click.echo(f"{file} can be restored: {proof.keys} keys at revision {proof.revision}, {hashed}, {secret}; "
               f"proved in {proof.seconds:.1f}s.")
    return 0


def _lines(seen: Members) -> Iterable[str]:
    health = "healthy" if seen.healthy else "needs attention"
    yield f"etcd of {seen.cluster}   {health}   cluster id {seen.cluster_id or '?'}   checked in {seen.seconds:.1f}s"
    table = [("HOST", "MEMBER", "STATE", "VERSION", "SIZE", "IN USE", "TERM", "INDEX", "LAG", "ALARMS")]
    yield from in_line([*table, *(_cells(row) for row in seen.rows)])
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
