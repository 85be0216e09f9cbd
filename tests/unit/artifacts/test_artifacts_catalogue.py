"""The catalogue is data: what is wrong in it is named, and what ships is whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from provisioner.artifacts.catalogue import HERE, fill, load_catalogue
from provisioner.errors import InventoryRefused, KubewrightError

TOOL = {"default": "1.0.0", "versions": ["1.0.0"], "go": {"modules": [], "binaries": {"tool": "example.org/tool"}}}


def written(directory: Path, **entry: object) -> Path:
    path = directory / "catalogue.yaml"
    path.write_text(yaml.safe_dump({"toolchain": "go1.26.8", "components": {"tool": TOOL | entry}}))
    return path


@pytest.mark.parametrize(("entry", "fault"), [
    ({"default": "2.0.0"}, "components.tool: Value error, default 2.0.0 is not among versions"),
    ({"go": None}, "components.tool: Value error, no source"),
    ({"surprise": 1}, "components.tool.surprise: Extra inputs"),
    ({"image": {"archive": "t.tar", "reference": "r", "files": {"/x": "other"}, "entrypoint": []}},
     "the image takes a binary that no source makes"),
])
def test_a_fault_is_named_by_its_field(tmp_path: Path, entry: dict[str, object], fault: str) -> None:
    with pytest.raises(KubewrightError) as refusal:
        load_catalogue(written(tmp_path, **entry))
    assert fault in "\n".join(refusal.value.details)


def test_what_is_not_there_is_refused_with_what_is() -> None:
    with pytest.raises(InventoryRefused, match="no component etdc") as refusal:
        load_catalogue().find("etdc", "3.6.16")
    assert "etcd" in refusal.value.details[0]
    with pytest.raises(InventoryRefused, match=r"no etcd 1\.0\.0"):
        load_catalogue().find("etcd", "1.0.0")


def test_hosts_get_the_image_where_there_is_one_else_the_binaries() -> None:
    components = load_catalogue().components
    assert components["coredns"].delivered == ("coredns.tar",)
    assert components["etcd"].delivered == ("etcd", "etcdctl", "etcdutl")


def test_file_names_are_unique_over_all_components() -> None:
    names = [name for c in load_catalogue().components.values() for name in c.delivered]
    assert len(names) == len(set(names))


def test_modules_are_pinned_of_every_version_that_can_be_built_and_of_no_other() -> None:
    built = {(c.name, version) for c in load_catalogue().components.values() if c.go for version in c.versions}
    assert {path.relative_to(HERE / "modules").parts[:2] for path in (HERE / "modules").glob("*/*/go.mod")} == built


def test_a_version_is_put_in_whole_and_in_parts() -> None:
    assert fill("v{version} {major}-{minor}-{patch}", "1.36.3") == "v1.36.3 1-36-3"
    assert fill("pause:{version}", "3") == "pause:3"
