"""`version`: which kubewright this is, and which Kubernetes releases it knows."""

from __future__ import annotations

import click

from provisioner.cli.context import Context


@click.command()
@click.pass_obj
def version(context: Context) -> None:
    """Print the versions of kubewright, of Python, and of the Kubernetes releases that an inventory may name."""
    import platform

    from provisioner.model.releases import RELEASES

    ours = _own_version()
    if context.wants_json:
        context.print_json({"kubewright": ours, "python": platform.python_version(),
                            "kubernetes": list(RELEASES)})
    else:
        click.echo(f"kubewright {ours} (Python {platform.python_version()}; "
                   f"Kubernetes {', '.join(RELEASES)})")


def _own_version() -> str:
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("kubewright")
    except PackageNotFoundError:
        return "from a checkout"
