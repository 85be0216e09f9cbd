"""The table of defects, as far as no node is needed: every row is whole, and what does not go together is refused."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from provisioner.cli.context import Context
from provisioner.cli.lab import lab
from provisioner.errors import UsageFault
from provisioner.lab import nodes
from provisioner.lab.defects import act, programs
from provisioner.lab.defects.defect import PASTED, Defect
from provisioner.lab.defects.elsewhere import NOT_GIVEN
from provisioner.lab.defects.table import BY_NAME, DEFECTS, named
from provisioner.lab.instance import Instance
from provisioner.operate.checks.table import CHECKS

CASES = Path(__file__).resolve().parents[2] / "cases" / "checks"
ROW = Defect("full", "it is full", "disk", "true", place="mount /opt")


def test_every_name_is_there_once_and_can_be_the_name_of_a_unit_and_of_a_file() -> None:
    assert not [name for name, times in Counter(d.name for d in DEFECTS).items() if times > 1]
    assert all(name.replace("-", "").isalnum() and name == name.lower() for name in BY_NAME)


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda d: d.name)
def test_every_script_is_one_that_a_shell_reads_and_undo_puts_back_whatever_it_made(defect: Defect) -> None:
    for script in (defect.do, defect.undo, defect.after):
        subprocess.run(["sh", "-n", "-c", script], check=True, timeout=10)
    assert defect.undo or defect.after or defect.files
    assert "$UNIT" not in defect.do or "$UNIT" in defect.undo, "a unit that it starts ends with it"
    assert all(path.startswith("/") and path.count("/") > 0 and path != "/" for path in defect.files)
    assert not any(word in defect.do for word in ("kernel.", "vm.", "swapon", "date -s")), "machine-wide in a lab"


@pytest.mark.parametrize("program", [programs.LISTEN, programs.ANSWER, programs.STRANGER])
def test_every_program_compiles(program: str) -> None:
    compile(program, "program", "exec")


@pytest.mark.parametrize(("defects", "why"), [
    ((ROW, Defect("other", "", "disk", "")), ""),
    ((ROW, Defect("noexec", "", "disk", "", place="mount /opt")), "full, noexec are about one place: mount /opt"),
    ((ROW, Defect("mute", "", "ssh", "", alone="it hides all")), "mute goes with no other: it hides all"),
    ((Defect("mute", "", "ssh", "", alone="it hides all"),), ""),
])
def test_what_does_not_go_together_on_one_host_is_said(defects: Sequence[Defect], why: str) -> None:
    assert act.clash(defects) == why


def test_what_is_in_force_is_read_from_the_disk_of_the_node(tmp_path: Path) -> None:
    instance = Instance("some", tmp_path)
    assert act.in_force(instance, "cp1") == ()
    for name in ("sysctl-wins", "left-k3s", "gone-since"):
        (nodes.paths(instance, "cp1").root / act.PLACE / name).mkdir(parents=True)
    assert {d.name for d in act.in_force(instance, "cp1")} == {"sysctl-wins", "left-k3s"}


def test_every_defect_is_of_a_check_and_every_check_has_one_or_a_case_that_says_why_not() -> None:
    checks = {check.name for check in CHECKS}
    shown = {d.check for d in DEFECTS} | {row.check for row in NOT_GIVEN}
    assert {d.check for d in DEFECTS} <= checks and {name for d in DEFECTS for name in d.also} <= checks
    assert shown == checks, "a check that no defect shows, or one that there is not"
    assert set(BY_NAME) >= PASTED


def test_what_no_node_is_given_is_shown_by_a_case_that_there_is() -> None:
    names = {case["name"] for file in CASES.glob("*.yaml") for case in yaml.safe_load(file.read_text(encoding="utf-8"))}
    assert {row.case for row in NOT_GIVEN} <= names


def test_the_list_names_every_defect_with_its_check() -> None:
    told = CliRunner().invoke(lab, ["fault", "list"], obj=Context()).output.splitlines()
    assert [line.split()[:2] for line in told] == [[d.name, d.check] for d in DEFECTS]


def test_a_defect_that_there_is_not_is_a_fault_of_the_command_line() -> None:
    with pytest.raises(UsageFault, match="there is no defect ful"):
        named(["ful"])
