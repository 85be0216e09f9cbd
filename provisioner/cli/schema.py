"""`schema`: what may stand in cluster.yaml, and what documents of ours hold, for editors and programs."""

from __future__ import annotations

import click


@click.command()
@click.argument("document", type=click.Choice(("cluster", "plan", "check")), default="cluster")
def schema(document: str) -> None:
    """Print the JSON schema of cluster.yaml (draft-07), or of what `plan -o json` or `check -o json` prints."""
    import json

    from provisioner.model.check_document import check_schema
    from provisioner.model.plan_document import plan_schema
    from provisioner.model.schema import cluster_schema

    schemas = {"cluster": cluster_schema, "plan": plan_schema, "check": check_schema}
    click.echo(json.dumps(schemas[document](), indent=2))
