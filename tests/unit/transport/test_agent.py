"""A key with a passphrase: the agent's where it holds it, in our logins and in Ansible's; else a fault that says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provisioner.converge.login import prove
from provisioner.errors import Unreachable
from provisioner.transport.connection import Connection
from provisioner.transport.target import Target
from tests.fakes.ssh_agent import agent_with, locked_key
from tests.fakes.sshd import Sshd

FORMS = {"OpenSSH": (), "PEM": ("-t", "ecdsa", "-m", "PEM")}


@pytest.fixture(params=FORMS)
def key(request: pytest.FixtureRequest, sshd: Sshd, tmp_path: Path) -> Iterator[Path]:
    """A key with a passphrase, which sshd lets in."""
    file, authorized = tmp_path / "locked", sshd.directory / "authorized"
    before = authorized.read_text()
    authorized.write_text(before + locked_key(file, *FORMS[request.param]) + "\n")
    yield file
    authorized.write_text(before)


def test_the_agent_signs_for_both_logins(
        target: Callable[..., Target], key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with agent_with(tmp_path, key) as socket:
        monkeypatch.setenv("SSH_AUTH_SOCK", socket)
        with Connection(target(key=key)) as host:
            assert host.run(["echo", "in"]).stdout == b"in\n"
        assert prove(target(key=key)) > 0


@pytest.mark.parametrize("agent", ["none", "of other keys"])
def test_a_key_that_no_agent_holds_is_told(
        target: Callable[..., Target], key: Path, sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        agent: str) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with agent_with(tmp_path, sshd.key) as socket:
        if agent != "none":
            monkeypatch.setenv("SSH_AUTH_SOCK", socket)
        with pytest.raises(Unreachable) as caught:
            Connection(target(key=key)).open()
    assert (caught.value.code, caught.value.exit_code) == ("ssh-key-encrypted", 12)
    assert "ssh-add" in caught.value.hint
