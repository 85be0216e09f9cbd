"""Malformed inventories, made from the example and the gallery by rule: each is read or refused, and at once."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.errors import InventoryRefused
from provisioner.model.load import FaultyInventory, load_cluster

ROOT = Path(__file__).parents[3]
SOURCES = [ROOT / "inventories" / "example" / "cluster.yaml", ROOT / "inventories" / "vagrant" / "cluster.yaml",
           *sorted((ROOT / "tests" / "invalid").glob("*.yaml"))]
VALUES = ("null", "~", "[]", "{}", "yes", "-1", "1:30", "0x1f", "1e400", ".inf", "2024-01-01", '"\\u0000"', '"a\\nb"',
          "'", '"', "[", "{", "*a", "&a b", "!!python/object:os.system x", "!!binary aGk=", "|\n  x",
          "\u00a0", "\u200b", "о",
          "10.20.0.0/24", "99999999999999999999", "- - -", "? a", "<<: x", "%TAG", "@", "`", "\t")
COUNT = 400


def mutated(text: str, dice: random.Random) -> str:
    """Change one thing: a value, a key, a line, a character."""
    lines = text.splitlines()
    at = dice.randrange(len(lines))
    kind = dice.randrange(8)
    key, colon, rest = lines[at].partition(":")
    if kind <= 2 and colon:
        lines[at] = f"{key}: {dice.choice(VALUES)}"
    elif kind == 3:
        lines[at] = rest or dice.choice(VALUES)
    elif kind == 4:
        lines.insert(at, lines[dice.randrange(len(lines))])
    elif kind == 5:
        lines[at] = dice.choice(("\t", " ", "- ", "  ")) + lines[at]
    elif kind == 6:
        del lines[at:at + dice.randrange(1, 4)]
    else:
        place = dice.randrange(len(lines[at]) + 1)
        lines[at] = lines[at][:place] + dice.choice(VALUES) + lines[at][place + 1:]
    return "\n".join(lines)


def malformed() -> Iterator[tuple[str, str]]:
    for number in range(COUNT):
        dice = random.Random(number)        # noqa: S311 - the same ones each time, not secrets
        source = SOURCES[number % len(SOURCES)]
        text = source.read_text(encoding="utf-8")
        for _ in range(1 + number % 3):
            text = mutated(text or " ", dice)
        yield f"{source.stem}-{number}", text


CASES = dict(malformed())


@pytest.mark.parametrize("name", CASES)
def test_a_malformed_inventory_is_read_or_refused_within_a_second(name: str) -> None:
    began = time.process_time()
    try:
        load_cluster(CASES[name], "cluster.yaml")
    except InventoryRefused as refused:
        assert refused.details
        for line in (refused.message, *refused.details):
            assert line.isprintable(), line
    assert time.process_time() - began < 1


def test_most_of_them_are_malformed_indeed() -> None:
    assert len(CASES) == COUNT >= 300
    refused = 0
    for text in CASES.values():
        try:
            load_cluster(text, "cluster.yaml")
        except InventoryRefused:
            refused += 1
    assert refused > COUNT * 0.8


def test_ten_thousand_wrong_hosts_are_refused_in_a_few_lines_and_soon() -> None:
    hosts = "".join(f"  w{n}: {{adress: 10.20.0.21, roles: [workr]}}\n" for n in range(10_000))
    text = f'version: 1\ncluster: shop\nkubernetes: "1.36.3"\nnetwork: {{hosts: [10.0.0.0/8]}}\nhosts:\n{hosts}'
    began = time.process_time()
    with pytest.raises(FaultyInventory) as refused:
        load_cluster(text, "cluster.yaml")
    assert time.process_time() - began < 3
    assert len(refused.value.faults) > 20_000
    assert len(refused.value.details) < 20
    assert any("and 9997 more like the last one, up to line 10005" in line for line in refused.value.details)


def test_faults_that_differ_in_kind_are_capped_too() -> None:
    extra = "".join(f"key{'abcdefghij'[n % 10] * (1 + n // 10)}: 1\n" for n in range(1200))
    with pytest.raises(FaultyInventory) as refused:
        load_cluster(f"version: 1\n{extra}", "cluster.yaml")
    assert len(refused.value.details) < 80
    assert refused.value.details[-1].endswith("more faults")
