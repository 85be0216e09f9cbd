"""The schema, the example and the generated pages say what the code does."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from provisioner.model.components import COMPONENTS
from provisioner.model.inventory import Inventory
from provisioner.model.releases import RELEASES
from provisioner.model.schema import cluster_schema
from tests.fakes import example
from tests.fakes.example import EXAMPLE

ROOT = Path(__file__).parents[3]
SCHEMA = cluster_schema()
SECTIONS = {"": SCHEMA} | {name: value for name, value in SCHEMA["definitions"].items() if "properties" in value}


def properties() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for section, value in SECTIONS.items():
        for name, field in value["properties"].items():
            yield section, name, field


def test_the_schema_is_valid_draft_07() -> None:
    Draft7Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert "prefixItems" not in json.dumps(SCHEMA)


def test_every_key_has_a_description_and_a_default_unless_it_is_required() -> None:
    for section, name, field in properties():
        assert field.get("description"), f"{section}.{name}"
        assert "default" in field or name in SECTIONS[section]["required"], f"{section}.{name}"


def test_no_section_takes_unknown_keys() -> None:
    assert all(value["additionalProperties"] is False for value in SECTIONS.values())


def test_the_schema_offers_the_releases_that_can_be_had_and_no_others() -> None:
    assert SCHEMA["properties"]["kubernetes"]["enum"] == list(RELEASES)


def test_a_ref_never_stands_beside_other_keys() -> None:
    def refs(value: Any) -> Iterator[dict[str, Any]]:
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from refs(item)
        if isinstance(value, dict) and "$ref" in value:
            yield value
    assert all(len(found) == 1 for found in refs(SCHEMA))


@pytest.mark.parametrize("file", sorted((ROOT / "inventories").glob("*/cluster.yaml")), ids=lambda f: f.parent.name)
def test_committed_inventories_are_valid_by_schema_and_by_code(file: Path, tmp_path: Path) -> None:
    Draft7Validator(SCHEMA).validate(yaml.safe_load(file.read_text(encoding="utf-8")))
    assert Inventory.open(example.copy(tmp_path) if file == EXAMPLE else file).cluster.hosts


def test_the_schema_refuses_what_the_code_refuses() -> None:
    data = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    for path, value in ((("kubernetes",), 1.36), (("api", "prot"), 1), (("ssh", "port"), 0), (("hosts", "A"), {})):
        wrong = json.loads(json.dumps(data))
        place = wrong
        for part in path[:-1]:
            place = place[part]
        place[path[-1]] = value
        assert not Draft7Validator(SCHEMA).is_valid(wrong), path


@pytest.mark.parametrize(("value", "valid"), [
    ("10.20.0.11", True), (["10.20.0.11"], True), (["10.20.0.11", "fd00::11"], True),
    ([], False), (["10.20.0.11", "fd00::11", "10.20.0.12"], False), (11, False), ({"a": "10.20.0.11"}, False)])
def test_the_schema_takes_one_address_or_two(value: Any, valid: bool) -> None:
    data = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    data["hosts"]["cp1"]["address"] = data["api"]["vip"] = value
    assert Draft7Validator(SCHEMA).is_valid(data) is valid


def uncommented() -> str:
    """Return the example with its resting keys (`#key: value`, no blank after the sign) brought to life."""
    return re.sub(r"^( *)#(?=[a-z_]+:)", r"\1", EXAMPLE.read_text(encoding="utf-8"), flags=re.M)


def keys(value: Any, schema: dict[str, Any], section: str = "") -> Iterator[tuple[str, str]]:
    """Yield every (section, key) that stands in `value`."""
    name = next((ref.rpartition("/")[2] for ref in re.findall(r'"\$ref": "([^"]+)"', json.dumps(schema))), None)
    if isinstance(value, list):
        for item in value:
            yield from keys(item, schema, section)
    elif isinstance(value, dict) and (section == "" or name in SECTIONS):
        inside = section if section == "" else str(name)
        fields = SECTIONS[inside]["properties"]
        if not set(value) & set(fields):  # a mapping of names to sections
            for item in value.values():
                yield from keys(item, schema, section)
            return
        for key, item in value.items():
            yield inside, key
            yield from keys(item, fields[key], "inner")


def test_the_example_shows_every_key_there_is() -> None:
    shown = set(keys(yaml.safe_load(uncommented()), SCHEMA))
    assert {(section, name) for section, name, _ in properties()} - shown == set()


def test_every_key_of_the_example_is_explained_beside_or_above_it() -> None:
    names = {name for _, name, _ in properties()}
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    for above, line in zip(["", *lines], lines, strict=False):
        found = re.match(r"^ *(?:- )?#?([a-z_]+):", line)
        if found and found[1] in names:
            explained = "# " in line or above.lstrip().startswith("# ") or found[1] in ("address", "roles")
            assert explained, line


def test_the_example_states_the_true_defaults() -> None:
    live = yaml.safe_load(uncommented())
    for section, path in (("Network", "network"), ("Api", "api"), ("Ssh", "ssh")):
        for name, field in SECTIONS[section]["properties"].items():
            resting = re.search(rf"^  #{name}: ", EXAMPLE.read_text(encoding="utf-8"), flags=re.M)
            if resting and field.get("default") is not None:
                assert live[path][name] == field["default"], f"{path}.{name}"


def test_the_example_names_every_supported_release_and_component() -> None:
    text = " ".join(EXAMPLE.read_text(encoding="utf-8").replace("\n# ", " ").split())
    assert f"Releases: {', '.join(RELEASES)}." in text
    assert f"Components: {', '.join(COMPONENTS)}." in text
