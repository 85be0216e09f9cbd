"""`validate`: read the inventory, contact no host."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import click

from provisioner.cli.context import Context

if TYPE_CHECKING:
    from provisioner.model.inventory import Inventory
    from provisioner.model.load import FaultyInventory


@click.command()
@click.pass_obj
def validate(context: Context) -> int:
    """Read the inventory and list every fault in it, each with its line; no host is contacted."""
    from provisioner.model.load import FaultyInventory

    try:
        inventory = context.inventory
    except FaultyInventory as err:
        if not context.wants_json:
            raise
        context.print_json({"valid": False, "file": err.filename, "faults": _faults(err)})
        return err.exit_code
    if context.wants_json:
        context.print_json(_document(inventory))
    else:
        click.echo(_summary(inventory))
        for warning in _warnings(inventory):
            click.echo(f"warning: {warning['path']}: {warning['message']}", err=True)
    return 0


def _summary(inventory: Inventory) -> str:
    cluster = inventory.cluster
    count = Counter(role for host in cluster.machines for role in host.roles)
    roles = ", ".join(f"{number} {role}" for role, number in sorted(count.items()))
    hosts = "1 host" if len(cluster.hosts) == 1 else f"{len(cluster.hosts)} hosts"
    return f"Cluster {cluster.cluster} is valid: Kubernetes {cluster.kubernetes}, {hosts} ({roles}), " \
        f"API {cluster.api_endpoint}"


def _document(inventory: Inventory) -> dict[str, object]:
    cluster = inventory.cluster
    hosts = {host.name: {"address": host.address, "roles": sorted(host.roles)} for host in cluster.machines}
    return {"valid": True, "file": str(inventory.file), "cluster": cluster.cluster, "lab": cluster.lab,
            "kubernetes": cluster.kubernetes, "api": str(cluster.api_endpoint), "hosts": hosts, "faults": [],
            "warnings": _warnings(inventory)}


def _warnings(inventory: Inventory) -> list[dict[str, str]]:
    from provisioner.model.advice import advice
    from provisioner.model.document import show_path

    return [{"path": show_path(path), "message": message} for path, message in advice(inventory.cluster)]


def _faults(err: FaultyInventory) -> list[dict[str, object]]:
    from provisioner.model.document import show_path

    return [{"line": fault.mark.line, "column": fault.mark.column, "path": show_path(fault.path),
             "message": fault.message} for fault in err.faults]
