"""The table of words against what was really said: tests/cases/words holds raw words with what said them."""

from __future__ import annotations

import functools
import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.model.words.row import NAMES, Row
from provisioner.model.words.table import LOOKED_AT, SUBJECTS, meaning, row

CASES = Path(__file__).parents[2] / "cases" / "words"
ASKED = {"host": "cp1", "user": "admin", "unit": "etcd", "login": "admin@10.0.0.1", "key": "/root/.ssh/id"}
SOON = 1.0      # seconds of processor time; a line takes milliseconds, and one expression that is quadratic a minute
AT_ONCE = 0.25  # of one expression over one line: the slowest takes 0.05, one that is cubic 0.8
ROWS = [one for rows in SUBJECTS.values() for one in rows]


@functools.cache
def cases() -> list[dict[str, Any]]:
    return [case for file in sorted(CASES.glob("*.yaml")) for case in yaml.safe_load(file.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("case", cases(), ids=lambda case: f"{case['row']} ({case['seen']})")
def test_these_words_mean_exactly_this_with_the_causes_of_their_row_and_this_cure(case: dict[str, Any]) -> None:
    means = meaning(case["raw"], **ASKED)
    assert means is not None, "unknown"
    assert (means.name, means.says, means.cure) == (case["row"], case["says"], case["cure"])
    assert means.causes == row(case["row"]).causes


def test_every_row_has_words_that_were_seen() -> None:
    assert {case["row"] for case in cases()} == {one.name for one in ROWS}


def test_names_are_unique_and_every_row_says_what_to_do_or_why() -> None:
    assert len({one.name for one in ROWS}) == len(ROWS)
    assert [one.name for one in ROWS if not one.causes and not one.cure and one.name != "ssh"] == []


@pytest.mark.parametrize("one", ROWS, ids=lambda one: one.name)
def test_a_row_s_texts_name_only_what_its_words_or_the_asker_know(one: Row) -> None:
    means = one.meaning("none of these words", {})
    assert "{" not in means.says and "None" not in means.says
    assert set(one.pattern.groupindex) & set(NAMES) == set(), "a group hides what the asker knows"


def test_words_that_nobody_knows_mean_nothing() -> None:
    assert meaning("the flux capacitor is out of plutonium\n") is None
    assert meaning("") is None


def test_the_last_line_counts_and_what_came_of_it_only_where_nothing_says_more() -> None:
    first = "listen tcp 127.0.0.1:2379: bind: address already in use\n"
    assert meaning(first + "no space left on device\n", "systemd").name == "no-space"  # type: ignore[union-attr]
    assert meaning(first + "etcd.service: Start request repeated too quickly.\n").name == "port-taken"  # type: ignore[union-attr]
    assert meaning("etcd.service: Start request repeated too quickly.\n").name == "start-limit"  # type: ignore[union-attr]


@pytest.mark.parametrize("line", [
    "x" * 48_000, "a-" * 24_000, ": " * 24_000, "/" * 48_000, "host='" * 8_000, "Could not get lock " + "/a" * 24_000,
    'failed calling webhook "x.y": ' + ": a" * 16_000, "installed " * 4_800, "image " * 8_000, "dial tcp " * 5_000])
def test_a_line_of_any_length_is_looked_up_in_a_moment(line: str) -> None:
    began = time.process_time()
    meaning(line)
    assert time.process_time() - began < SOON


def crafted(one: Row) -> Iterator[str]:
    """Yield lines that begin as the row's own words do and then come to no end: their pieces, over and over."""
    raw = next(found[0] for case in cases() if case["row"] == one.name
               for line in case["raw"].splitlines() if (found := one.pattern.search(line)))
    pieces = re.findall(r"\w+\W*", raw)
    for n in range(1, len(pieces) + 1):
        begun = "".join(pieces[:n])
        half = (begun * LOOKED_AT)[:LOOKED_AT // 2]
        yield begun * (LOOKED_AT // len(begun))
        yield from (begun + piece * LOOKED_AT for piece in ("a", *pieces[n:n + 1]))
        yield from (half + piece * LOOKED_AT for piece in ("a", *pieces[n:]))


@pytest.mark.parametrize("one", [one for one in ROWS if re.search(r"[*+]", one.words)], ids=lambda one: one.name)
def test_no_row_takes_long_over_a_line_that_somebody_crafts_of_its_words(one: Row) -> None:
    slowest = 0.0
    for line in crafted(one):
        began = time.process_time()
        one.pattern.search(line[:LOOKED_AT])
        slowest = max(slowest, time.process_time() - began)
    assert slowest < AT_ONCE


@pytest.mark.parametrize(("name", "begun"), [
    ("api-webhook", 'failed calling webhook "'), ("image-not-found", 'failed to resolve image "')])
def test_a_long_name_is_read_once_and_not_again_for_each_of_its_beginnings(name: str, begun: str) -> None:
    began = time.process_time()
    row(name).pattern.search(begun + "a." * 24_000)
    assert time.process_time() - began < SOON


def test_only_the_subjects_that_are_asked_for_answer() -> None:
    assert meaning("sudo: a password is required", "ssh") is None


@pytest.mark.parametrize("evil", ["a;reboot", "$(reboot)", "`reboot`", "a'b", "x y"])
def test_what_a_host_writes_does_not_get_into_a_command_as_more_than_one_word(evil: str) -> None:
    one = Row("x", r"package (?P<package>.+)", "no {package}", ("a",), "apt-get install {package}")
    means = one.meaning(f"package {evil}", {})
    assert means.says == f"no {evil}"
    assert shlex.split(means.cure) == ["apt-get", "install", "PACKAGE"]


def test_what_no_eye_sees_is_written_out_in_what_is_said() -> None:
    one = Row("x", r"said (?P<what>.*)", "{what}")
    assert one.meaning("said \x1b[31mred", {}).says == "\\x1b[31mred"
