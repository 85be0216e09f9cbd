"""`schema`: what may stand in cluster.yaml, for editors and programs."""

from __future__ import annotations

import click


@click.command()
def schema() -> None:
    """Print the JSON schema (draft-07) of cluster.yaml."""
    import json

    from provisioner.model.schema import cluster_schema

    click.echo(json.dumps(cluster_schema(), indent=2))
