"""`compile`: every file of every host in a directory, for reading and for running Ansible by hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from provisioner.cli.context import Context

if TYPE_CHECKING:
    from provisioner.orchestrate.session.session import Session


@click.command("compile")
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Directory to write.")
@click.pass_obj
def compile_(context: Context, out: Path) -> int:
    """Write the files as they would stand on each host, and the bundles for `ansible-playbook playbooks/apply.yml`.

    Reads the hosts, changes nothing there. The bundles hold secrets: the directory is 0700, its files 0600.
    """
    from provisioner.orchestrate.session import private

    private.make_directory(out, "the files")
    context.enter_lab()
    from provisioner.orchestrate.plan.survey import survey
    from provisioner.orchestrate.session.session import open_session

    with open_session(context.inventory, context.told, run=False) as session:
        plan = survey(session)
        files = _write_tree(session, out)
        bundles = _write_bundles(session, out) if session.target.secrets.exists else 0
        made = session.target.secrets.exists
    click.echo(f"Wrote {files} files for {len(plan.desired.hosts)} hosts to {out}", err=True)
    if not made:
        click.echo("No bundles: they hold certificates, and the CA that signs these is made by the first "
                   f"{context.command('up')}. Until then a line stands in the CA's place.", err=True)
    if bundles:
        click.echo(f"{bundles} host{'s differ' if bundles > 1 else ' differs'}. What would change there:\n"
                   f"  ansible-playbook -i {context.inventory.file} playbooks/apply.yml -e bundles={out / 'bundles'} "
                   "--check --diff", err=True)
    return 0


def _write_tree(session: Session, out: Path) -> int:
    from provisioner.model.desired import File

    count = 0
    for host in session.the_plan.desired.hosts.values():
        for item in host.items:
            if isinstance(item, File) and item.secret is None:
                path = out / "hosts" / host.name / item.path.lstrip("/")
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                path.write_text(item.content, encoding="utf-8")
                count += 1
    return count


def _write_bundles(session: Session, out: Path) -> int:
    from provisioner.orchestrate.phases.converge import write_by_hand

    return write_by_hand(session, out / "bundles")
