"""What is compiled holds the benchmark's table, and its judge can say no; real hosts are asked in tests/lab."""

from __future__ import annotations

import re
from typing import Any

import pytest

from provisioner.model.desired import Certificate, File
from tests.lab import cis
from tests.unit.compile.compile_fixture import SECRET_BYTES, compiled

ROWS = [row for row in cis.rows_of(["control-plane", "etcd", "node"]) if "owner" not in row]
# Made on the host, by systemd or a program of ours: only a real host can tell.
ON_HOSTS_ONLY = {"1.1.9", "1.1.11"}


def seen() -> dict[str, Any]:
    """Return of the compiled cp1 what tests/lab/onhost_read.py returns of a real host."""
    texts, paths, processes = {}, {}, {}
    for item in compiled().hosts["cp1"].items:
        if isinstance(item, File):
            paths[item.path] = [f"{item.mode:o}", ""]
            texts[item.path] = SECRET_BYTES[item.secret.name] if item.secret else item.content
            if item.path.endswith(".service") and "ExecStart=" in item.content:
                words = re.findall(r'"?(--\S+?)"?(?: \\)?$', item.content, re.M)
                processes[item.path.rpartition("/")[2].removesuffix(".service")] = words
        if isinstance(item, Certificate):
            paths |= {item.path: ["644", ""], item.key_path: [f"{item.key_mode:o}", ""]}
    return {"texts": texts, "paths": paths, "processes": processes}


def test_the_table_skips_nothing_without_a_reason() -> None:
    for row in cis.rows():
        assert ("instead" in row) != (sum(kind in row for kind in cis.KINDS) == 1), row["id"]
        assert len(str(row.get("instead", "a long sentence that says why"))) > 20, row["id"]


def test_what_is_compiled_holds_the_table() -> None:
    told = cis.faults([row for row in ROWS if str(row["id"]) not in {*ON_HOSTS_ONLY, "1.2.28"}], seen())
    assert not told, "\n".join(told)


@pytest.mark.parametrize(("was", "is_", "told"), [
    ("--profiling=false", "--profiling=true", ["1.2.15: kube-apiserver --profiling is true"]),
    ("--audit-log-maxage=30", "--audit-log-maxage=29", ["1.2.17: kube-apiserver --audit-log-maxage is 29"]),
    ("--authorization-mode=Node,RBAC", "--authorization-mode=RBAC", [
        "1.2.7: kube-apiserver --authorization-mode is RBAC"]),
    ("--audit-log-path=/var/log/kubernetes/audit.log", "--token-auth-file=/x", [
        "1.2.2: kube-apiserver --token-auth-file is /x", "1.2.16: kube-apiserver --audit-log-path is None"]),
])
def test_the_judge_names_what_does_not_hold(was: str, is_: str, told: list[str]) -> None:
    host = seen()
    words = host["processes"]["kube-apiserver"]
    words[words.index(was)] = is_
    flags = [row for row in ROWS if "flag" in row]
    assert cis.faults(flags, host) == told


@pytest.mark.parametrize(("mode", "wide"), [("600", False), ("400", False), ("640", True), ("604", True)])
def test_a_mode_holds_when_it_is_as_strict_or_stricter(mode: str, wide: bool) -> None:
    row = {"id": "x", "mode": {"path": "/pki/**/*.key", "is": "600"}}
    told = cis.faults([row], {"paths": {"/pki/a.key": ["600", ""], "/pki/etcd/b.key": [mode, ""]}})
    assert told == ([f"x: /pki/etcd/b.key is {mode}"] if wide else [])
    assert cis.faults([row], {"paths": {"/pki/a.crt": ["600", ""]}}) == ["x: there is no /pki/**/*.key"]
