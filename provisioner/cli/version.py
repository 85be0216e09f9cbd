"""`version`: which kubewright this is, and which Kubernetes releases it knows."""

from __future__ import annotations

import click

from provisioner.cli.context import Context


@click.command()
@click.pass_obj
def version(context: Context) -> None:
    """Print the versions of kubewright, of Python, and of the Kubernetes releases that an inventory may name."""
    import platform

    from provisioner.model.own_version import own_version
    from provisioner.model.releases import RELEASES

    ours = own_version()
    if context.wants_json:
        context.print_json({"kubewright": ours, "python": platform.python_version(),
                            "kubernetes": list(RELEASES)})
    else:
        click.echo(f"kubewright {ours} (Python {platform.python_version()}; "
                   f"Kubernetes {', '.join(RELEASES)})")
