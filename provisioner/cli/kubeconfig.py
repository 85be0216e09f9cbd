"""`kubeconfig`: the credentials for kubectl, whole in one file."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from provisioner.cli.context import Context

if TYPE_CHECKING:
    from provisioner.orchestrate.session import Session


@click.command()
@click.option("--output", "target", type=click.Path(dir_okay=False, path_type=Path), default=None,
              help="File to write (0600); default: standard output.")
@click.pass_obj
def kubeconfig(context: Context, target: Path | None) -> int:
    """Fetch kubernetes-admin's credentials from a control plane; your own kubeconfig is not touched."""
    import yaml

    context.enter_lab()
    from provisioner.orchestrate.session import open_session

    with open_session(context.inventory, lambda event: None, run=False) as session:
        text = yaml.safe_dump(_document(session), sort_keys=False)
    if target is None:
        click.echo(text, nl=False)
        return 0
    _write(target, text)
    click.echo(f"Wrote {target}. Next: kubectl --kubeconfig {target} get nodes", err=True)
    return 0


def _document(session: Session) -> dict[str, Any]:
    cluster = session.cluster
    ca, cert, key = (base64.b64encode(f.read_bytes()).decode() for f in session.admin_files())
    name = f"kubewright-{cluster.cluster}"
    return {
        "apiVersion": "v1", "kind": "Config", "current-context": name,
        "clusters": [{"name": name, "cluster": {
            "server": f"https://{cluster.api_endpoint}", "certificate-authority-data": ca}}],
        "users": [{"name": name, "user": {"client-certificate-data": cert, "client-key-data": key}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    }


def _write(target: Path, text: str) -> None:
    """Create the file 0600 from its first moment; an old one is replaced whole."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(target)
