"""`version`: which kubewright this is, and which Kubernetes releases and systems of hosts it knows."""

from __future__ import annotations

import click

from provisioner.cli.context import Context


@click.command()
@click.pass_obj
def version(context: Context) -> None:
    """Print the versions of kubewright and Python, the Kubernetes releases that an inventory may name, and the systems
    that hosts may have."""
    import platform

    from provisioner.model import families
    from provisioner.model.own_version import own_version
    from provisioner.model.releases import RELEASES

    ours = own_version()
    if context.wants_json:
        context.print_json({"kubewright": ours, "python": platform.python_version(),
                            "kubernetes": list(RELEASES),
                            "systems": {row.key: row.state for row in families.TABLE}})
    else:
        click.echo(f"kubewright {ours} (Python {platform.python_version()}; "
                   f"Kubernetes {', '.join(RELEASES)})")
        for state in dict.fromkeys(row.state for row in families.TABLE):
            click.echo(f"{', '.join(row.name for row in families.TABLE if row.state == state)}: {state}")
