"""`trust --known-hosts`: who knows the machines already says so; the plain key is pinned, and nobody is asked."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.fakes.host_ca import HostCa
from tests.fakes.sshd import Sshd, keygen, run_sshd
from tests.unit.orchestrate.look.test_trust_verb import run, site

__all__ = ["site"]


@pytest.fixture
def certified(tmp_path: Path) -> Iterator[tuple[HostCa, Sshd]]:
    """An sshd that shows a certificate of an authority."""
    ca, key = HostCa(tmp_path / "ca"), tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", str(key)], check=True, timeout=60)
    public = key.with_suffix(".pub").read_text()
    with run_sshd(tmp_path / "certified", f"HostKey {key}", f"HostCertificate {ca.sign(key.with_suffix('.pub'))}"
                  ) as sshd:
        sshd.host_key = public
        yield ca, sshd


def reached(site: Path, there: Sshd) -> None:
    """Let the inventory's hosts be those of this sshd."""
    document = yaml.safe_load((site / "cluster.yaml").read_text())
    document["ssh"]["port"] = there.port
    (site / "cluster.yaml").write_text(yaml.safe_dump(document))


def test_a_key_that_another_file_names_is_pinned_and_one_that_differs_is_refused(
        site: Path, sshd: Sshd, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = site / "theirs"
    theirs.write_text(sshd.pinned_at("127.0.0.1").replace(sshd.host_key.split()[1], keygen(site / "k").split()[1]))
    assert run(site, "trust", "--known-hosts", str(theirs), "--yes") == 12
    out, err = capsys.readouterr()
    assert f"NOT the key that {theirs} names" in out
    assert f"cp1: comparing host keys: not the key that {theirs} names" in err and "cp1: named SHA256:" in err
    assert not (site / "known_hosts").exists()
    theirs.write_text("somewhere.else ssh-ed25519 AAAA\n")
    assert run(site, "trust", "--known-hosts", str(theirs)) == 15, "it says nothing of the machine: somebody is asked"
    theirs.write_text(sshd.known_hosts)
    assert run(site, "trust", "--known-hosts", str(theirs)) == 0
    assert f"vouched for by {theirs}" in capsys.readouterr().out
    assert (site / "known_hosts").read_text() == sshd.known_hosts


def test_a_file_that_is_not_there_is_told(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(site, "trust", "--known-hosts", "nowhere") == 64
    assert "--known-hosts nowhere: there is no such file" in capsys.readouterr().err


def test_a_key_whose_certificate_an_authority_has_signed_is_pinned_as_a_plain_key(
        site: Path, certified: tuple[HostCa, Sshd], capsys: pytest.CaptureFixture[str]) -> None:
    ca, there = certified
    reached(site, there)
    theirs = site / "theirs"
    theirs.write_text(HostCa(site / "other").line("*"))
    assert run(site, "trust", "--known-hosts", str(theirs)) == 15
    assert "its certificate is of another authority" in capsys.readouterr().out
    theirs.write_text(ca.line("127.0.0.*"))
    assert run(site, "trust", "--known-hosts", str(theirs)) == 0
    assert "vouched for by its certificate" in capsys.readouterr().out
    assert (site / "known_hosts").read_text() == there.known_hosts


@pytest.mark.parametrize("patterns", ["*", "127.0.0.1"])
@pytest.mark.parametrize("where", ["theirs", "known_hosts"])
def test_an_authority_that_is_revoked_speaks_for_nobody(
        site: Path, certified: tuple[HostCa, Sshd], capsys: pytest.CaptureFixture[str], where: str, patterns: str,
        ) -> None:
    ca, there = certified
    reached(site, there)
    (site / "theirs").write_text(ca.line("127.0.0.*"))
    with (site / where).open("a") as file:
        file.write(f"@revoked {patterns} {ca.public}\n")
    assert run(site, "trust", "--known-hosts", str(site / "theirs")) == 15, "somebody is asked"
    assert "vouched for" not in capsys.readouterr().out
    with (site / where).open("w") as file:
        file.write(f"@revoked elsewhere {ca.public}\n{ca.line('*')}")
    assert run(site, "trust", "--known-hosts", str(site / "theirs")) == 0, "revoked for another host"
