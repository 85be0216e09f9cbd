"""`upgrade`: bring the cluster to the version of Kubernetes that cluster.yaml names."""

from __future__ import annotations

from pathlib import Path

import click

from provisioner.cli import complete, node_drain, upgrade_os
from provisioner.cli.change import change
from provisioner.cli.context import Context
from provisioner.cli.plan import planned
from provisioner.cli.span import Span
from provisioner.errors import UsageFault

STAGES = ("etcd", "control-plane", "controllers", "node", "addons")
ROLLS = ("etcd", "control-plane", "node")       # of these --os has stages as well
SHOW = ""       # what `--plan` without a FILE says


@click.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--skip", multiple=True, metavar="CHECK", shell_complete=complete.checks,
              help="Leave out a check of the machines; may be repeated.")
@click.option("--plan", "plan_file", is_flag=False, flag_value=SHOW, default=None, metavar="[FILE]",
              help="Without FILE: show what would be done, and change nothing. With FILE: do exactly what `upgrade "
                   "--plan --out FILE` kept, or nothing if anything has moved since.")
@click.option("--out", "out_file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
              help="With --plan: keep the plan in FILE.")
@click.option("--diff", is_flag=True, help="With --plan: show the text of every change.")
@click.option("--allow", multiple=True, metavar="RULE", shell_complete=complete.rules,
              help="Allow what needs a word; --plan names it. May be repeated.")
@click.option("--max-unavailable", default="1", metavar="N|N%", show_default=True,
              help="How many workers may be drained and changed at a time, after the first has shown that it goes: a "
                   "number, or a share of all workers, rounded down. Control planes go one at a time.")
@node_drain.timeout
@click.option("--slo", multiple=True, metavar="BUDGET",
              help="What may go wrong meanwhile: failures=N, cuts=N, gap=500ms or 2s; then the run stops where nothing "
                   "is half done, exit 13. May be repeated.")
@click.option("--without", multiple=True, metavar="HOST", shell_complete=complete.hosts,
              help="Leave out a worker, for one that does not answer; may be repeated.")
@click.option("--only", multiple=True, metavar="HOST", shell_complete=complete.hosts,
              help="Change these hosts alone, as far as the rules of version skew allow; the same command without it "
                   "goes on. May be repeated.")
@click.option("--until", metavar="STAGE", type=click.Choice(STAGES),
              help=f"Stop behind this stage: {', '.join(STAGES)}.")
@click.option("--soak", metavar="TIME", type=Span(least=1), default="1d", show_default=True,
              help="How long another minor is to be on trial: control planes run it, behave as the one before, and can "
                   "be taken back. `status` shows the end; until then or later, --finish or --back.")
@click.option("--no-soak", is_flag=True, help="No trial: go through in one run. API servers do not go back then.")
@click.option("--finish", is_flag=True, help="End the trial: control planes behave as the new minor, nodes follow.")
@click.option("--back", is_flag=True, help="Go back to what ran before, while every component may legally return.")
@click.option("--os", "systems", is_flag=True,
              help="Not Kubernetes: bring newer packages of the hosts' own systems, and reboot where one asks for it; "
                   "host by host, with the same guards.")
@click.option("--reboot", is_flag=True, help="With --os: reboot every host once.")
@click.option("--boot-timeout", type=click.FloatRange(min=1), default=600.0, show_default=True, metavar="SECONDS",
              help="With --os: how long a host may take to come back from its reboot.")
@click.option("--events", is_flag=True, help="Write the run's events as JSON lines to stdout.")
@click.pass_obj
def upgrade(context: Context, yes: bool, skip: tuple[str, ...], plan_file: str | None, out_file: Path | None,
            diff: bool, allow: tuple[str, ...], max_unavailable: str, timeout: float, slo: tuple[str, ...],
            without: tuple[str, ...], only: tuple[str, ...], until: str | None, soak: float, no_soak: bool,
            finish: bool, back: bool, systems: bool, reboot: bool, boot_timeout: float, events: bool) -> int:
    """Bring the cluster to the version of Kubernetes in cluster.yaml while it serves, each turn proved.

    A snapshot of etcd is taken and proved first, and everything is on every host before the first restart. Then etcd's
    members, the leader last; the API servers, each out of every HAProxy meanwhile; the controllers; each node with its
    kubelet, containerd, kube-proxy and Pod network, drained where the minor changes: the control planes, one worker,
    the other workers; what runs in the cluster last. What does not come back goes back to what ran before, and the run
    stops. Stopped or killed: the same command again.

    Another minor is on trial first: the run ends when the control planes have it and behave as the one before. Several
    minors are gone through one after the other.
    """
    from provisioner.orchestrate.run.options import Intent

    shows = plan_file == SHOW
    _fits(back, finish=finish, no_soak=no_soak, narrowed=bool(only or until), saved=bool(plan_file or out_file))
    if (out_file or diff) and not shows:
        raise UsageFault("--out and --diff are for `upgrade --plan`, which shows and changes nothing",
                         hint="kubewright upgrade --plan")
    upgrade_os.refuse(os=systems, reboot=reboot, others={
        "--skip": skip, "--back": back, "--finish": finish, "--no-soak": no_soak,
        f"--until {until}": until is not None and until not in ROLLS})
    file = Path(plan_file) if plan_file and not shows else None
    if systems:
        intent = Intent("upgrade --os", (), allow, max_unavailable, slo, without, only=only, until=until or "",
                        plan_file=file, drain_timeout=timeout, reboot=reboot, boot_timeout=boot_timeout)
        if shows:
            upgrade_os.show(context, intent, out_file, diff=diff)
            return 0
        return upgrade_os.roll(context, intent, yes=yes, events=events)
    intent = Intent("upgrade --back" if back else "upgrade", skip, allow, max_unavailable, slo, without, only=only,
                    until=until or "", plan_file=file, drain_timeout=timeout, soak=0.0 if no_soak or back else soak,
                    finish=finish)
    if shows:
        planned(context, intent, out_file, diff=diff)
        return 0
    return change(context, intent, yes=yes, events=events)


def _fits(back: bool, *, finish: bool, no_soak: bool, narrowed: bool, saved: bool) -> None:
    """Raise UsageFault for words that ask for two things at once."""
    if back and (finish or no_soak):
        raise UsageFault("--back goes back, --finish and --no-soak go on", hint="kubewright upgrade --back")
    if back and (narrowed or saved):
        raise UsageFault("--back goes back as a whole: not with --only, --until, --out or a saved plan",
                         hint="kubewright upgrade --back --plan")
