"""Ansible's ssh against a real sshd: what OpenSSH refuses although our own SSH takes it."""

from __future__ import annotations

import dataclasses
import getpass
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.converge import login, runner
from provisioner.transport.connection import Connection
from provisioner.transport.faults import HostFault
from provisioner.transport.target import Hop, Target
from tests.fakes.sshd import Sshd, keygen


@pytest.fixture
def target(sshd: Sshd, tmp_path: Path) -> Target:
    directory = tmp_path / "100% a blank"
    directory.mkdir()
    (directory / "known_hosts").write_text(sshd.known_hosts)
    key = directory / "id"
    key.write_bytes(sshd.key.read_bytes())
    key.chmod(0o600)
    return Target("w1", "127.0.0.1", sshd.port, getpass.getuser(), "none", key, directory / "known_hosts")


@pytest.fixture
def sockets() -> Iterator[Path]:
    """Return a directory whose name is short, as that of a socket has to be."""
    directory = Path(tempfile.mkdtemp(prefix="s-"))
    yield directory
    runner.close_masters(directory)


def fault_of(target: Target) -> HostFault:
    with pytest.raises(HostFault) as caught:
        login.prove(target)
    return caught.value


def key_of(target: Target) -> Path:
    assert target.key_file is not None
    return target.key_file


def test_a_login_that_ansible_gets_is_proved_in_silence(target: Target, capfd: pytest.CaptureFixture[str]) -> None:
    login.prove(target)
    login.prove(dataclasses.replace(target, jump=Hop(target.user, target.address, target.port)))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_key_that_others_may_read_is_found_before_ansible_meets_it(target: Target, mode: int) -> None:
    key_of(target).chmod(mode)
    with Connection(target) as ours:
        assert ours.is_open, "our own SSH takes it, so only this look finds it"
    fault = fault_of(target)
    assert fault.message == (f"w1: logging in with Ansible's ssh: ssh does not use the key {target.key_file}: "
                             "others may read it")
    assert (fault.hint, fault.code, fault.exit_code) == (f"chmod 600 {target.key_file}", "ansible-login", 12)


def test_a_key_that_openssh_cannot_read_is_told_as_such(target: Target) -> None:
    key_of(target).write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n")
    assert fault_of(target).saw == f"ssh cannot read the key {target.key_file}"


def test_a_refusal_is_told_with_its_causes_and_below_them_in_openssh_s_own_words(
        target: Target, tmp_path: Path) -> None:
    keygen(tmp_path / "other")
    fault = fault_of(dataclasses.replace(target, key_file=tmp_path / "other"))
    assert fault.saw.startswith("authentication failed: no key of ours is accepted")
    assert fault.details[0].startswith("likely: the public key is not in that user's authorized_keys; or ")
    assert "Permission denied (publickey" in fault.details[-1]
    assert fault.hint == f"ssh-copy-id {target.hop.login}"


def test_words_that_nobody_knows_are_told_as_they_are_with_the_command_that_shows_them(
        target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    real = login.command
    monkeypatch.setattr(login, "command", lambda target, **_: [*real(target)[:-1], "echo what is this >&2; exit 3"])
    fault = fault_of(target)
    assert fault.saw == "what is this"
    again = subprocess.run(["sh", "-c", fault.hint], capture_output=True, text=True, timeout=60, check=False)
    assert (again.returncode, "what is this" in again.stderr) == (3, True)


def test_a_machine_without_ssh_says_so(target: Target, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (fault_of(target).saw, fault_of(target).hint) == (
        "there is no ssh on this machine", "on this machine: apt-get install -y openssh-client")


def test_a_host_whose_python_is_elsewhere_is_no_host_for_ansible(
        target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    real = login.command
    monkeypatch.setattr(login, "command", lambda target, **_: [
        word.replace("/usr/bin/python3", "/nowhere/usr/bin/python3") for word in real(target)])
    assert fault_of(target).saw == "there is no python3 on the host"


def test_the_login_is_ansible_s_own_and_shares_nothing_with_it() -> None:
    words = login.command(Target("w1", "10.77.0.21", 2222, "admin", "sudo", None, Path("/x/known_hosts")))
    assert words[1:7] == [*login.ALONE]
    assert {"-F", "none", "ConnectTimeout=15", 'UserKnownHostsFile="/x/known_hosts"'} <= set(words)
    assert words[-1] == ("env LC_ALL=C sudo -H -S -n -u root /bin/sh -c 'exec /usr/bin/python3 -I -S -c 0'")
    assert "IdentitiesOnly=yes" not in words, "the agent's keys are all that there is"


def test_a_login_that_is_kept_for_ansible_is_proved_anew_where_one_is_open_already(
        target: Target, sshd: Sshd, sockets: Path) -> None:
    logins = sshd.log.count("Accepted publickey")
    login.prove(target, kept=sockets)
    login.prove(target, kept=sockets)
    assert sshd.log.count("Accepted publickey") == logins + 2
    key_of(target).chmod(0o644)
    with pytest.raises(HostFault, match="others may read it"):
        login.prove(target, kept=sockets)


def test_sudo_s_words_are_told_as_sudo_s(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "command", lambda target, **_: [
        "sh", "-c", "echo sudo: a password is required >&2; exit 1"])
    fault = fault_of(dataclasses.replace(target, user="admin", become="sudo"))
    assert (fault.code, fault.saw) == ("sudo-password", "sudo asks for a password")


def test_nothing_of_our_environment_that_ansible_does_not_get_decides(
        target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "xx_XX.UTF-8")
    monkeypatch.setenv("SSH_ASKPASS", "/bin/false")
    login.prove(target)
    assert os.environ["LC_ALL"] == "xx_XX.UTF-8"


def unpinned(target: Target, *names: str) -> Target:
    """Pin the one sshd under these of its names only."""
    key = target.known_hosts_file.read_text().split(" ", 1)[1]
    target.known_hosts_file.write_text("".join(f"[{name}]:{target.port} {key}" for name in names))
    return target


def test_ansible_does_not_believe_a_host_whose_key_is_not_pinned(target: Target) -> None:
    fault = fault_of(unpinned(target, "localhost"))
    assert (fault.saw, fault.details[-1]) == ("no key of this host is pinned", "Host key verification failed.")


@pytest.mark.parametrize("stays_open", [False, True])
def test_ansible_does_not_believe_a_jump_host_whose_key_is_not_pinned_though_that_of_the_host_is(
        target: Target, sockets: Path, stays_open: bool) -> None:
    through = dataclasses.replace(target, jump=Hop(target.user, "localhost", target.port))
    kept = sockets if stays_open else None
    login.prove(unpinned(through, "localhost", target.address), kept=kept)
    unpinned(through, target.address)
    with pytest.raises(HostFault) as caught:
        login.prove(through, kept=kept)
    assert "Host key verification failed." in caught.value.details
