"""What a package manager is told, as programs meet it: dnf's two calls by a shell, with another at work or without."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from provisioner.model import managers
from provisioner.model.managers import APT, DNF
from tests.unit.compile.compile_fixture import facts


class Dnf:
    """A dnf that ends so, after another was at work for so many asks; sleeping takes no time."""

    def __init__(self, place: Path) -> None:
        self.place, self.calls = place, place / "calls"

    def run(self, argv: Sequence[str], code: int, says: str = "", busy: int = 0) -> subprocess.CompletedProcess[str]:
        self.calls.write_text("")
        body = f"""echo "$@" >> {self.calls}
[ $(wc -l < {self.calls}) -gt {busy} ] || {{ echo busy >&2; exit 200; }}
echo '{says}' >&2; exit {code}"""
        for name, text in (("dnf", body), ("sleep", "")):
            (self.place / name).write_text(f"#!/bin/sh\n{text}\n")
            (self.place / name).chmod(0o755)
        return subprocess.run(list(argv), env={"PATH": f"{self.place}:{os.environ['PATH']}"}, text=True, timeout=60,
                              capture_output=True, check=False)

    @property
    def asked(self) -> list[str]:
        return self.calls.read_text().splitlines()


@pytest.fixture
def dnf(tmp_path: Path) -> Dnf:
    return Dnf(tmp_path)


def test_an_upgrade_waits_for_another_dnf_and_ends_as_its_own_does(dnf: Dnf) -> None:
    argv = [*DNF.upgrade, "tool-2"]
    assert dnf.run(argv, 0, busy=2).returncode == 0
    assert len(dnf.asked) == 3 and dnf.asked[-1].endswith("install tool-2")
    done = dnf.run(argv, 1, "no match: tool-2")
    assert (done.returncode, done.stderr, len(dnf.asked)) == (1, "no match: tool-2\n", 1)


@pytest.mark.parametrize("argv", [[*DNF.upgrade, "tool-2"], [*DNF.finish]], ids=["upgrade", "finish"])
def test_another_dnf_is_not_waited_for_without_an_end_nor_a_dead_source_minded(dnf: Dnf, argv: list[str]) -> None:
    done = dnf.run(argv, 0, busy=10_000)
    assert done.returncode == 200 and done.stderr.endswith("busy\n")
    assert len(dnf.asked) == managers.LOCKED // 3 + 1, "asked every 3 s"
    assert {"--setopt=exit_on_lock=True", "--setopt=*.skip_if_unavailable=True"} < set(dnf.asked[0].split())


def test_what_is_there_twice_no_more_is_no_fault_and_all_else_is(dnf: Dnf) -> None:
    assert dnf.run(DNF.finish, 0, busy=1).returncode == 0
    assert dnf.asked[-1].endswith("remove --duplicates")
    assert dnf.run(DNF.finish, 1, "Error: No duplicated packages found for removal.").returncode == 0
    done = dnf.run(DNF.finish, 1, "Error: no space left")
    assert done.returncode == 1 and "no space left" in done.stderr


@pytest.mark.parametrize("argv", [DNF.finish, DNF.upgrade], ids=["finish", "upgrade"])
def test_systemd_has_nothing_to_put_into_what_it_is_told(argv: Sequence[str]) -> None:
    """systemd.service(5), command lines: ${NAME} anywhere and $NAME as a word of its own; $$ is a dollar."""
    assert not any("${" in word or "$$" in word or word.startswith("$") for word in argv)


def test_a_hosts_own_word_names_its_manager_also_where_its_system_has_no_row() -> None:
    assert managers.of_facts(facts("w1", "10.0.0.1", os_id="fedora", os_version="42", manager="dnf")) is DNF
    assert managers.of_facts(facts("w1", "10.0.0.1", os_id="rocky", os_version="9.5")) is DNF
    assert managers.of_facts(facts("w1", "10.0.0.1")) is APT
