"""`kubeconfig`: the credentials for kubectl, whole in one file."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from provisioner.cli.context import Context
from provisioner.orchestrate.session import private

if TYPE_CHECKING:
    from provisioner.model.cluster import Cluster
    from provisioner.model.inventory import Inventory
    from provisioner.orchestrate.session.session import Session


@click.command()
@click.option("--output", "target", type=click.Path(dir_okay=False, path_type=Path), default=None,
              help="File to write (0600); default: standard output.")
@click.option("--shared", is_flag=True,
              help="Fetch kubernetes-admin's credentials from a control plane, for who is no operator.")
@click.pass_obj
def kubeconfig(context: Context, target: Path | None, shared: bool) -> int:
    """Issue an administrator's certificate to you; your own kubeconfig is not touched.

    It bears your name, the comment of your key under `operators:`. So the API's audit log tells people apart, and who
    is taken out of `operators:` is shut out by the next `up`. It lasts 90 days.
    """
    import yaml

    if target is not None:
        private.check(target, "the credentials")
    context.enter_lab()
    from provisioner.orchestrate.session.session import open_session

    with open_session(context.inventory, context.told, run=False) as session:
        text = yaml.safe_dump(_document(session.cluster, *_fetched(session, shared)), sort_keys=False)
    if target is None:
        click.echo(text, nl=False)
        return 0
    private.write(target, text, "the credentials")
    _remember(context.inventory, target)
    click.echo(f"Wrote {target}. Next: kubectl --kubeconfig {target} get nodes", err=True)
    return 0


def _fetched(session: Session, shared: bool) -> tuple[bytes, bytes, bytes]:
    """Return the credentials; where there are none because there is no cluster yet, GateFailed says that."""
    from provisioner.errors import GateFailed, KubewrightError
    from provisioner.orchestrate.plan.survey import is_built

    try:
        return _credentials(session, shared)
    except KubewrightError as fault:
        if is_built(session):
            raise
        raise GateFailed(f"cluster {session.cluster.cluster} is not built yet", hint="kubewright up",
                         code="not-built") from fault


def _credentials(session: Session, shared: bool) -> tuple[bytes, bytes, bytes]:
    """Return the CA's certificate, and a certificate with its key: a person's own, or the one that all can share."""
    from provisioner.orchestrate.session import administrator

    if not shared:
        return administrator.credentials(session)
    ca, certificate, key = (file.read_bytes() for file in session.access.admin_files())
    return ca, certificate, key


def _document(cluster: Cluster, *credentials: bytes) -> dict[str, Any]:
    ca, cert, key = (base64.b64encode(text).decode() for text in credentials)
    name = f"kubewright-{cluster.cluster}"
    return {
        "apiVersion": "v1", "kind": "Config", "current-context": name,
        "clusters": [{"name": name, "cluster": {
            "server": cluster.api_endpoint.url, "certificate-authority-data": ca}}],
        "users": [{"name": name, "user": {"client-certificate-data": cert, "client-key-data": key}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    }


def _remember(inventory: Inventory, target: Path) -> None:
    """Note where the file lies, so that `certs check` looks after it too; nothing else depends on the note."""
    known = _notes(inventory)
    path = str(target.resolve())
    if path not in known:
        private.write(_notes_file(inventory), "".join(f"{line}\n" for line in [*known, path]), "where that is")


def written_here(inventory: Inventory) -> Mapping[str, str]:
    """Return the kubeconfigs that `kubewright kubeconfig` wrote on this machine and that are still there.

    Path -> PEM of the client certificate in it, empty where there is none.
    """
    return {path: _certificate_in(Path(path)) for path in _notes(inventory) if Path(path).is_file()}


def _notes_file(inventory: Inventory) -> Path:
    return inventory.state_dir / "kubeconfigs"


def _notes(inventory: Inventory) -> list[str]:
    file = _notes_file(inventory)
    return file.read_text(encoding="utf-8").splitlines() if file.is_file() else []


def _certificate_in(file: Path) -> str:
    import yaml

    try:
        (user,) = yaml.safe_load(file.read_text(encoding="utf-8"))["users"]
        return base64.b64decode(user["user"]["client-certificate-data"], validate=True).decode()
    except (OSError, yaml.YAMLError, ValueError, KeyError, TypeError):
        return ""       # edited by hand, merged with others, or not readable for us
