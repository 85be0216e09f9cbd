"""The JSON schema of cluster.yaml (draft-07, which editors read), made from the same classes that validate it."""

from __future__ import annotations

from typing import Any

from provisioner.model.cluster import Cluster
from provisioner.model.releases import RELEASES


def cluster_schema() -> dict[str, Any]:
    """Return the schema; every key has a description, and a default unless it is required."""
    schema = Cluster.model_json_schema(ref_template="#/definitions/{model}")
    schema["properties"]["kubernetes"]["enum"] = list(RELEASES)     # the pattern alone would offer what cannot be had
    definitions = schema.pop("$defs")
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Kubewright inventory (cluster.yaml)",
        **{key: _plain(value) for key, value in schema.items() if key != "title"},
        "definitions": {name: _plain(value) for name, value in sorted(definitions.items())},
    }


def _plain(value: Any) -> Any:
    """Leave out pydantic's titles; draft-07 ignores what stands beside a $ref, so that goes into an allOf.

    Names that must match a pattern are the only ones: pydantic says so when it validates, but not in its schema.
    """
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    # A property may be called `title`; then it is a mapping and stays.
    result = {key: _plain(item) for key, item in value.items() if key != "title" or isinstance(item, dict)}
    if "$ref" in result and len(result) > 1:
        result = {"allOf": [{"$ref": result.pop("$ref")}], **result}
    if "patternProperties" in result:
        result["additionalProperties"] = False
    return result
