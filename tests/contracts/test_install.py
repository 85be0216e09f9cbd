"""scripts/install asks of each reader only for what that one needs; run as nobody on a machine that has nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def asked_for(tmp_path: Path, *words: str) -> tuple[int, list[str]]:
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "install", tmp_path / "scripts")
    stubs = tmp_path / "stubs"
    stubs.mkdir()
    for name, says in (("dpkg-query", "exit 1"), ("id", "echo 1000"), ("apt-get", "exit 97")):
        (stubs / name).write_text(f"#!/bin/sh\n{says}\n")
        (stubs / name).chmod(0o755)
    done = subprocess.run([str(tmp_path / "scripts" / "install"), *words], capture_output=True, text=True, timeout=60,
                          check=False, env=os.environ | {"PATH": f"{stubs}:{os.environ['PATH']}"})
    return done.returncode, done.stderr.partition("apt-get install ")[2].split()


def test_who_has_machines_needs_ssh_alone(tmp_path: Path) -> None:
    code, packages = asked_for(tmp_path)
    assert (code, packages) == (1, ["openssh-client"])


def test_a_lab_needs_no_browser_and_no_server_of_tests(tmp_path: Path) -> None:
    code, packages = asked_for(tmp_path, "--lab")
    assert code == 1 and {"openssh-client", "mmdebstrap", "systemd-container"} <= set(packages)
    assert not {"chromium", "haproxy", "openssh-server", "strace"} & set(packages)


def test_who_works_on_it_needs_all(tmp_path: Path) -> None:
    assert {"mmdebstrap", "chromium", "haproxy", "strace"} <= set(asked_for(tmp_path, "--dev")[1])


@pytest.mark.parametrize("word", ["--all", "dev"])
def test_another_word_is_refused(tmp_path: Path, word: str) -> None:
    assert asked_for(tmp_path, word) == (64, [])
