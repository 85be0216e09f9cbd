"""Pinning: what a host shows before any login, and the file that keeps it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from provisioner.errors import Unreachable
from provisioner.transport import trust
from provisioner.transport.connection import Connection
from provisioner.transport.target import Target
from tests.fakes.sshd import Sshd, free_port

MakeTarget = Callable[..., Target]


def test_the_shown_key_is_the_hosts_and_nothing_is_sent(target: MakeTarget, sshd: Sshd) -> None:
    before = len(sshd.log)
    key = trust.fetch(target(known_hosts=""))
    printed = subprocess.run(["ssh-keygen", "-lf", str(sshd.directory / "host.pub")], capture_output=True, text=True,
                             check=True, timeout=10).stdout
    assert key.fingerprint in printed
    assert key.line + "\n" == sshd.known_hosts
    assert "Accepted" not in sshd.log[before:] and "Failed" not in sshd.log[before:]


def test_a_pinned_key_lets_us_in(target: MakeTarget) -> None:
    place = target(known_hosts="")
    assert trust.pinned_for(place) == []
    trust.pin(place.known_hosts_file, [trust.fetch(place)])
    assert [k.type for k in trust.pinned_for(place)] == ["ssh-ed25519"]
    with Connection(place) as connection:
        assert connection.run(["true"]).rc == 0


def test_pinning_twice_changes_nothing(target: MakeTarget) -> None:
    place = target(known_hosts="# made by hand\n@revoked x ssh-ed25519 AAAA\n")
    key = trust.fetch(place)
    trust.pin(place.known_hosts_file, [key])
    once = place.known_hosts_file.read_text()
    trust.pin(place.known_hosts_file, [key, key])
    assert place.known_hosts_file.read_text() == once
    assert once.startswith("# made by hand\n@revoked")


def test_replacing_drops_the_names_older_keys_only(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text("10.0.0.1 ssh-ed25519 OLD\n10.0.0.2 ssh-ed25519 KEEP\n10.0.0.1,cp1 ssh-rsa OLD\n")
    trust.pin(file, [trust.HostKey("10.0.0.1", "ssh-ed25519", "SHA256:x", "10.0.0.1 ssh-ed25519 NEW")], replace=True)
    assert file.read_text() == "10.0.0.2 ssh-ed25519 KEEP\n10.0.0.1 ssh-ed25519 NEW\n"


def test_a_host_that_does_not_answer_is_a_fault_with_its_address(target: MakeTarget) -> None:
    port = free_port()
    with pytest.raises(Unreachable, match=rf"cp1: connecting as \S+@127.0.0.1:{port}: connection refused"):
        trust.fetch(target(port=port))


def test_a_link_to_a_shared_known_hosts_stays_a_link(target: MakeTarget, tmp_path: Path) -> None:
    place = target(known_hosts="")
    shared = tmp_path / "shared"
    place.known_hosts_file.rename(shared)
    place.known_hosts_file.symlink_to(shared)
    trust.pin(place.known_hosts_file, [trust.fetch(place)])
    assert place.known_hosts_file.is_symlink()
    assert len(shared.read_text().splitlines()) == 1


def test_a_damaged_line_is_replaced_by_the_key_that_is_pinned_for_its_place(target: MakeTarget, sshd: Sshd) -> None:
    place = target(known_hosts=f"[127.0.0.1]:{sshd.port} ssh-ed25519 AAAA!broken\n")
    assert trust.pinned_for(place) == []
    trust.pin(place.known_hosts_file, [trust.fetch(place)], replace=True)
    assert place.known_hosts_file.read_text() == sshd.known_hosts


def test_a_revoked_key_is_not_offered_for_pinning(target: MakeTarget, sshd: Sshd) -> None:
    with pytest.raises(Unreachable, match="is revoked in known_hosts"):
        trust.fetch(target(known_hosts=f"@revoked * {' '.join(sshd.host_key.split()[:2])}\n"))
