"""sudo's password: it reaches sudo alone, whether that asks or not, and a wrong one is one try."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.errors import Unreachable
from provisioner.transport.connection import Connection
from provisioner.transport.pool import Pool
from provisioner.transport.target import Target
from tests.fakes.sshd import run_sshd
from tests.fakes.sudo import Sudo

PASSWORD = "pass 'word\" $HOME \\n é"


@pytest.fixture
def sudo(request: pytest.FixtureRequest, tmp_path: Path) -> Sudo:
    """One that asks, or with the parameter "" one that asks nobody."""
    return Sudo.in_dir(tmp_path / "bin", getattr(request, "param", PASSWORD))


@pytest.fixture
def target(sudo: Sudo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Target]:
    monkeypatch.setattr(Target, "elevates", True)       # we may be root, who needs no sudo
    with run_sshd(tmp_path / "sshd", sudo.option) as sshd:
        known = tmp_path / "known_hosts"
        known.write_text(sshd.known_hosts)
        yield Target("cp1", "127.0.0.1", sshd.port, os.environ.get("USER") or "root", "sudo", sshd.key, known,
                     password=PASSWORD)


@pytest.mark.parametrize("sudo", [PASSWORD, ""], ids=["asks", "asks nobody"], indirect=True)
def test_a_command_gets_its_own_stdin_whole_whether_sudo_asks_or_not(target: Target, sudo: Sudo) -> None:
    data = b"\0\n\nfirst line\n" + os.urandom(300_000)
    with Connection(target) as host:
        assert host.run(["cat"], data).stdout == data
        assert host.run(["cat"]).stdout == b""
        seen = host.run(["sh", "-c", "tr '\\0' '\\n' < /proc/$$/environ; tr '\\0' ' ' < /proc/$$/cmdline; set"]).stdout
        assert host.run(["sh", "-c", "exit 3"]).rc == 3
        assert b"".join(_streamed(host)) == b"one\ntwo\n"
    assert PASSWORD.encode() not in seen
    assert len(sudo.calls.splitlines()) == 6, "one for each command, and the first that proves the password"
    assert "$HOME" not in sudo.calls
    assert set(sudo.tries) <= {PASSWORD}


def _streamed(host: Connection) -> list[bytes]:
    got: list[bytes] = []
    host.stream(["cat"], iter((b"one\n", b"two\n")), timeout=60, sink=got.append)
    return got


def test_a_wrong_password_is_one_try_and_one_sentence_before_anything_is_sent(
        target: Target, sudo: Sudo, tmp_path: Path) -> None:
    wrong = dataclasses.replace(target, password="wrong")
    with Pool({"cp1": wrong, "cp2": dataclasses.replace(wrong, name="cp2")}) as pool:
        for _ in range(3):
            with pytest.raises(Unreachable) as caught:
                pool.each(lambda host: host.run(["touch", str(tmp_path / "ran")], b"request"), ["cp1", "cp2"])
    assert caught.value.code == "sudo-password-wrong"
    assert caught.value.message == "cp1, cp2: sudo does not take the password that was given"
    assert sudo.tries == ["wrong"] * 2, "a host is asked once: PAM may lock who fails"
    assert not (tmp_path / "ran").exists()


def test_nobody_reads_the_password_in_a_target(target: Target) -> None:
    assert "$HOME" not in repr(target) and "password=" not in repr(target)
    assert target == dataclasses.replace(target, password=None), "a shared login is named by all but the password"
