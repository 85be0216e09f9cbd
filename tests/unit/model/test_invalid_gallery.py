"""Every bad inventory of tests/invalid gives exactly the text beside it; the text is what people read."""

from pathlib import Path

import pytest

from provisioner.cli.failure import failure_text
from provisioner.errors import InventoryRefused
from provisioner.model.load import load_cluster

INVALID = Path(__file__).parents[2] / "invalid"
FILES = sorted(INVALID.glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_bad_inventory_gives_exactly_the_expected_text(file: Path) -> None:
    with pytest.raises(InventoryRefused) as refused:
        load_cluster(file.read_text(encoding="utf-8"), "cluster.yaml")
    assert failure_text(refused.value) + "\n" == file.with_suffix(".expected").read_text(encoding="utf-8")


def test_every_expected_text_has_its_inventory_and_says_what_is_wrong_first() -> None:
    assert {file.stem for file in INVALID.glob("*.expected")} == {file.stem for file in FILES}
    assert all(file.read_text(encoding="utf-8").startswith("# ") for file in FILES)
