"""The generated page of every key of cluster.yaml, from the schema that editors and `validate` go by."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]
FORMATS = {"ipv4": "an IPv4 address", "ipv6": "an IPv6 address", "ipv4network": "a range like 10.0.0.0/24",
           "ipv6network": "an IPv6 range"}
TYPES = {"string": "text", "integer": "a whole number", "boolean": "true or false", "number": "a number"}


def page(schema: Schema) -> Iterator[str]:
    """Yield the page's lines: the file's own keys first, then each part in the order in which it is met."""
    yield "<!-- Written by scripts/reference from provisioner/model/cluster.py; do not edit. -->"
    yield "# What stands in `cluster.yaml`\n"
    yield ("`inventories/example/cluster.yaml` shows all of it in place, `kubewright schema` prints the "
           "[schema](cluster.schema.json) for editors, and\n`kubewright validate` names every fault with its line. "
           "A key that is not here is refused. What `config:` takes: [its own page](config.md).\n")
    yield from _table("The file", "", schema)
    done, waiting = set[str](), _parts(schema)
    while waiting:
        name, path = waiting.pop(0)
        part = schema["definitions"][name]
        if name not in done and "properties" in part:
            done.add(name)
            yield from _table(f"`{path}`", part.get("description", ""), part)
            waiting += [(n, f"{path}.{p}") for n, p in _parts(part)]


def _parts(part: Schema) -> list[tuple[str, str]]:
    """Return the names of the parts that a part's keys lead to, each with its path in the file."""
    found = []
    for key, value in part.get("properties", {}).items():
        of_names = next(iter(value.get("patternProperties", {}).values()), None)
        for inner, path in ((value, key), (value.get("items", {}), f"{key}[]"), (of_names or {}, f"{key}.NAME")):
            refs = [inner, *inner.get("allOf", ()), *inner.get("anyOf", ())]
            found += [(r["$ref"].rpartition("/")[2], path) for r in refs if "$ref" in r]
    return found


def _table(title: str, says: str, part: Schema) -> Iterator[str]:
    yield f"## {title}\n"
    if says:
        yield f"{says}\n"
    yield "| key | takes | default | |\n|---|---|---|---|"
    for key, value in part["properties"].items():
        needed = key in part.get("required", ())
        default = "**must be there**" if needed else _default(value)
        yield f"| `{key}` | {_kind(value)} | {default} | {_cell(value.get('description', ''))} |"
    yield ""


def _default(value: Schema) -> str:
    default = value.get("default")
    if default in (None, [], {}, "") or isinstance(default, dict):
        return ""
    return f"`{_cell(json.dumps(default))}`"


def _kind(value: Schema) -> str:
    """Return what a value may be, in words."""
    if "$ref" in value or "allOf" in value:
        ref = value.get("$ref") or value["allOf"][0].get("$ref", "")
        return f"see `{ref.rpartition('/')[2]}`" if ref.endswith("Role") else "a mapping, see below"
    if "enum" in value or "const" in value:
        return " or ".join(f"`{v}`" for v in value.get("enum", [value.get("const")]))
    if "anyOf" in value:
        kinds = dict.fromkeys(_kind(v) for v in value["anyOf"] if v.get("type") != "null")
        return ", or ".join(kinds)
    if value.get("type") == "array":
        return f"a list: {_kind(value.get('items', {}))}"
    if "patternProperties" in value:
        return "a mapping of names, see below"
    if value.get("type") == "object":
        return "a mapping"
    span = f", {value['minimum']} to {value['maximum']}" if "minimum" in value and "maximum" in value else ""
    return FORMATS.get(value.get("format", ""), TYPES.get(value.get("type", ""), "any value")) + span


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
