"""One renderer tells findings, wherever they come from."""

from __future__ import annotations

import pytest

from provisioner.model.finding import Finding
from provisioner.report.findings import grouped, lines, paragraph

FULL = [Finding("disk", h, "error", "no room", f"on {h}: make room") for h in ("cp1", "cp2")]
OTHER = [Finding("disk", "w1", "warning", "no room", ""), Finding("etcd", "", "error", "etcd: no leader", "")]


def test_those_of_one_cause_stand_in_one_line_with_their_cure_and_the_cluster_has_no_host() -> None:
    assert lines([*FULL, *OTHER]) == ["cp1, cp2: no room: on cp1, cp2: make room", "w1: no room", "etcd: no leader"]


def test_a_cure_that_is_told_once_below_is_not_told_on_each_line() -> None:
    found = [Finding("certificates", "cp1", "warning", "x: expires", "kubewright up"), FULL[0]]
    assert lines(found, below="kubewright up") == ["cp1: x: expires", "cp1: no room: on cp1: make room"]


def test_in_full_it_says_which_check_and_each_cure_on_a_line_of_its_own() -> None:
    (group,) = grouped(FULL)
    assert paragraph(group) == ["cp1, cp2: disk: no room", "    on cp1, cp2: make room"]


@pytest.mark.parametrize(("finding", "code"), [
    (FULL[0], "disk"), (Finding("reach", "w1", "unseen", "no route", "", code="no-route"), "no-route")])
def test_as_values_it_has_all_its_parts_and_a_code(finding: Finding, code: str) -> None:
    told = finding.to_json()
    assert set(told) == {"check", "host", "severity", "saw", "cure", "expected", "code", "retry"}
    assert told["code"] == code


def test_what_may_pass_by_itself_is_told_so_and_what_does_not_is_not() -> None:
    told = [paragraph(group)[0] for group in grouped([
        Finding("ssh", "w1", "error", "connection refused", "", retry=True),
        Finding("arch", "w1", "error", "arm64", "")])]
    assert told == ["w1: ssh: connection refused (may pass by itself)", "w1: arch: arm64"]


def test_what_a_program_wrote_moves_no_cursor_and_begins_no_line_of_its_own() -> None:
    evil = Finding("kernel", "w1", "warning", "killed \x1b]0;x\x07\x1b[2Jprocess\n\u202eall is well", "kill \x9b31m")
    assert (evil.saw, evil.cure) == (r"killed \x1b]0;x\x07\x1b[2Jprocess\n\u202eall is well", r"kill \x9b31m")
    assert all(line.isprintable() for line in (*lines([evil]), *paragraph(grouped([evil])[0])))
