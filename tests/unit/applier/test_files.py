"""The order in which a file becomes what it is: what a power cut could tear is durable before it is seen."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from provisioner.applier import changes, files, states
from tests.unit.applier.support import FakeHost, certificate_change, pair

SPEC = {"kind": "certificate", "path": "/pki/x.crt", "key_path": "/pki/x.key"}


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Note what is synced and what is renamed, in their order."""
    acts: list[tuple[str, str]] = []
    fsync, rename = os.fsync, os.rename

    def synced(fd: int) -> None:
        acts.append(("sync", str(Path(f"/proc/self/fd/{fd}").readlink())))
        fsync(fd)

    def renamed(old: str, new: str) -> None:
        acts.append(("rename", new))
        rename(old, new)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    return acts


def test_bytes_are_durable_before_they_have_their_name_and_the_name_is_before_we_go_on(
        tmp_path: Path, done: list[tuple[str, str]]) -> None:
    path = str(tmp_path / "x")
    files.write(path, b"bytes")
    assert done == [("sync", files.temp_of(path)), ("rename", path), ("sync", str(tmp_path))]


def test_a_link_s_name_is_durable_before_we_go_on(tmp_path: Path, done: list[tuple[str, str]]) -> None:
    files.symlink(str(tmp_path / "x"), "/t")
    assert done == [("rename", str(tmp_path / "x")), ("sync", str(tmp_path))]


def test_a_key_has_its_name_before_its_certificate_and_both_are_complete_before_either(
        box: FakeHost, done: list[tuple[str, str]]) -> None:
    """Who reads a new certificate finds its key; a kill between the two shows as a key that does not match."""
    change = certificate_change("/pki/x.crt", "/pki/x.key", *pair(), expect="absent")
    changes.make(box.host, "s", change, states.Look(box.host).see(SPEC)[0])
    ours = [(what, Path(path).name) for what, path in done if "/pki/" in path]
    assert ours == [("sync", ".x.key.kubewright-tmp"), ("sync", ".x.crt.kubewright-tmp"),
                    ("rename", "x.key"), ("rename", "x.crt")]
