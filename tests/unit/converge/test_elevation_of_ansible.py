"""Ansible becomes root with the password that was given to us, and leaves it nowhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.converge import login, runner
from provisioner.transport.faults import HostFault
from provisioner.transport.target import Target, targets_of
from tests.fakes.sudo import Sudo
from tests.unit.converge.conftest import Rig, rig_in

PASSWORD = "canary word"


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Rig, Sudo]]:
    """Hosts whose sudo asks; the inventory knows who gives the password."""
    monkeypatch.setattr(Target, "elevates", True)       # we may be root, who needs no sudo
    settings = runner._settings
    monkeypatch.setattr(runner, "_settings", lambda *paths: settings(*paths) | {
        "ANSIBLE_BECOME_ALLOW_SAME_USER": "True"})
    with rig_in(tmp_path / "rig") as rig:
        sudo = Sudo.in_dir(tmp_path / "rig" / "bin", PASSWORD)
        rig.inventory = dataclasses.replace(rig.inventory, ask_become=lambda: PASSWORD)
        yield rig, sudo


def test_its_steps_become_root_and_leave_no_password_behind(asked: tuple[Rig, Sudo]) -> None:
    rig, sudo = asked
    rig.bundle(cp1="done-1", cp2="done-2")
    results = runner.apply(rig.inventory, rig.directory / "bundles", ["cp1", "cp2"], run_dir=rig.directory / "run",
                           emit=lambda event: None)
    assert [r.status for r in results.values()] == ["done", "done"], results
    assert sudo.tries == [PASSWORD] * 2
    assert "canary" not in sudo.calls
    left = [f for f in (rig.directory / "run").rglob("*") if f.is_file()]
    assert len(left) > 3
    assert [f for f in left if b"canary" in f.read_bytes()] == []


def test_the_proof_of_its_login_gives_the_password_too(asked: tuple[Rig, Sudo]) -> None:
    rig, sudo = asked
    target = targets_of(rig.inventory)["cp1"]
    assert login.prove(target) > 0
    with pytest.raises(HostFault) as caught:
        login.prove(dataclasses.replace(target, password="wrong"))
    assert (caught.value.code, sudo.tries) == ("sudo-password-wrong", [PASSWORD, "wrong"])
    assert "canary" not in " ".join(login.command(target))
