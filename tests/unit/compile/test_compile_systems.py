"""What differs between systems: of each row, what its hosts get otherwise than Debian 12's (tests/golden/systems).

`UPDATE_GOLDEN=1 pytest tests/unit/compile/test_compile_systems.py` writes it anew; the diff is then what to review.
"""

from __future__ import annotations

import difflib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from provisioner.compile.cluster import compile_cluster
from provisioner.compile.surroundings import CHRONY
from provisioner.model import families
from provisioner.model.desired import File, HostDesired
from provisioner.model.families import System
from tests.unit.compile.compile_fixture import PUBLIC, SECRETS, compiled, facts_of, inventory, lock
from tests.unit.compile.test_compile_golden import listing

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "systems"
HOST = "cp1"                        # has every role but worker, and all that a worker has
ROWS = [row for row in families.TABLE if row is not families.DEFAULT]
TABLE = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)


def texts(host: HostDesired) -> dict[str, str]:
    return {"items": listing(host)} | {
        item.path: item.content for item in host.items if isinstance(item, File) and item.secret is None}


def rendered(row: System) -> HostDesired:
    cluster = inventory()
    return compiled(cluster, facts_of(cluster, os_id=row.os_id, os_version=row.version)).hosts[HOST]


def differences(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """Return what changes, file by file, without the lines around it."""
    return "".join(f"{line}\n" for path in sorted({*old, *new}) for line in difflib.unified_diff(
        old.get(path, "").splitlines(), new.get(path, "").splitlines(), path, path, n=0, lineterm=""))


@TABLE
def test_a_system_gets_what_its_row_says_otherwise_and_all_else_like_the_default(row: System) -> None:
    said = differences(texts(rendered(families.DEFAULT)), texts(rendered(row)))
    golden = GOLDEN / f"{row.key}.diff"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(said)
    assert said == golden.read_text(), "UPDATE_GOLDEN=1, and read the diff"


def test_every_golden_file_is_one_of_a_row() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == {f"{row.key}.diff" for row in ROWS}


def test_time_servers_and_authorities_go_where_the_system_looks_for_them() -> None:
    asked = inventory(time={"servers": ["192.0.2.1"]}, trust=["x"])
    debian, rhel = (texts(compiled(asked, facts_of(asked, os_id=name, os_version=version)).hosts[HOST])
                    for name, version in (("debian", "12"), ("almalinux", "9.5")))
    time, trust = "/opt/kubewright/bin/read-time-servers", "/opt/kubewright/bin/trust-authorities"
    assert "cp /etc/chrony/sources.d/kubewright.sources /run/chrony-dhcp/kubewright.sources" in rhel[time]
    assert "--quiet chronyd.service" in rhel[time] and "--quiet chrony.service" in debian[time]
    assert "/run/chrony-dhcp" not in debian[time]
    unit = "/etc/systemd/system/kubewright-time.service"
    assert f"ExecStop={time} remove" in rhel[unit] and "ExecStop" not in debian[unit]
    assert "place=/etc/pki/ca-trust/source/anchors\n" in rhel[trust]
    assert rhel[trust].count("update-ca-trust extract") == 2 and "update-ca-certificates" not in rhel[trust]


def test_rules_of_selinux_count_as_read_only_once_they_are_loaded() -> None:
    unit = texts(rendered(families.BY_KEY["rhel-9"]))["/etc/systemd/system/kubewright-selinux.service"]
    reloads = [line for line in unit.splitlines() if line.startswith("ExecReload=")]
    assert reloads[0] == "ExecReload=/opt/kubewright/bin/load-policy" and "/stamp " in reloads[-1] and len(reloads) == 2


def test_time_servers_that_cannot_be_brought_are_a_fault_and_those_that_are_get_their_label(tmp_path: Path) -> None:
    asked = inventory(time={"servers": ["192.0.2.1"]})
    script = texts(compiled(asked, facts_of(asked, os_id="rhel", os_version="9.4")).hosts[HOST])[
        "/opt/kubewright/bin/read-time-servers"]
    ours, place, enforce, calls = (tmp_path / name for name in ("ours", "place", "enforce", "calls"))
    for name, body in (("systemctl", "exit 1"), ("restorecon", f'echo "$*" >> {calls}')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    for old, new in ((CHRONY, ours), ("/run/chrony-dhcp", place), ("/sys/fs/selinux/enforce", enforce)):
        assert old in script
        script = script.replace(old, str(new))

    def code() -> int:
        return subprocess.run(["sh", "-c", script], env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}, timeout=60,
                              check=False, capture_output=True).returncode

    assert code() == 1, "there is no such file"
    ours.write_text("server 192.0.2.1\n")
    assert code() == 0 and (place / "kubewright.sources").read_text() == ours.read_text() and not calls.exists()
    enforce.write_text("1")
    assert code() == 0 and calls.read_text() == f"-R {place}\n"
    shutil.rmtree(place)
    place.write_text("no directory")
    assert code() == 1


def test_another_architecture_takes_other_files_of_the_lock_and_is_otherwise_the_same() -> None:
    cluster = inventory()
    there = texts(compiled(cluster).hosts[HOST])
    arm = texts(compile_cluster(cluster, facts_of(cluster, arch="arm64"), lock("arm64"), SECRETS, PUBLIC).hosts[HOST])
    differ = {path for path in {*there, *arm} if there.get(path) != arm.get(path)}
    assert differ == {"items", "/etc/kubewright/cluster.yaml"}


@pytest.mark.parametrize("row", families.TABLE, ids=lambda row: row.key)
def test_no_row_names_a_system_that_our_units_and_the_applier_cannot_run_on(row: System) -> None:
    assert row.systemd >= families.SYSTEMD
    assert tuple(int(part) for part in row.python.split(".")) >= (3, 9)
    assert families.of(row.os_id, row.version) is row
