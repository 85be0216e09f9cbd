"""`trust` against real sshds: nothing is pinned that nobody agreed to, and a changed key is never pinned by chance."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pytest
import yaml

from provisioner.cli import main as command
from provisioner.orchestrate.look import trust
from provisioner.transport.trust import HostKey
from tests.fakes.sshd import Sshd, free_port, run_sshd
from tests.unit.compile.compile_fixture import LAB

ED, OTHER = (HostKey("10.0.0.1", "ssh-ed25519", f"SHA256:{x}", f"10.0.0.1 ssh-ed25519 {x}") for x in "ab")
RSA = HostKey("10.0.0.1", "ssh-rsa", "SHA256:r", "10.0.0.1 ssh-rsa r")


@pytest.mark.parametrize(("pinned", "state"), [
    ([], "new"), ([ED], "pinned"), ([RSA, ED], "pinned"), ([OTHER], "changed"), ([RSA], "changed")])
def test_a_key_is_pinned_only_if_it_is_the_very_same(pinned: list[HostKey], state: str) -> None:
    assert trust.judge(ED, pinned) == state


@pytest.fixture
def site(sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An inventory of one host: the test's sshd."""
    text = yaml.safe_load(LAB) | {
        "lab": False, "operators": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAiUKfncuWSokX3LVyysFBQf4zzgKKxGumVZPqiKkGca"],
        "network": {"hosts": ["127.0.0.0/8"]}, "api": {}, "ssh": {"port": sshd.port},
        "hosts": {"cp1": {"address": "127.0.0.1", "roles": ["control-plane"]}}}
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump(text))
    monkeypatch.setattr("provisioner.model.load.validate", lambda *a, **k: iter(()))     # loopback is no host's
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    return tmp_path


def run(site: Path, *words: str) -> int:
    return command.main(["-i", str(site), *words])


def add_host(site: Path, name: str, port: int) -> None:
    text = yaml.safe_load((site / "cluster.yaml").read_text())
    text["hosts"][name] = {"address": "127.0.0.1", "roles": ["worker"], "ssh": {"port": port}}
    (site / "cluster.yaml").write_text(yaml.safe_dump(text))


def test_without_a_terminal_and_without_yes_keys_are_shown_and_not_pinned(
        site: Path, sshd: Sshd, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(site, "trust") == 15
    out, err = capsys.readouterr()
    assert out.split()[:3] == ["cp1", f"127.0.0.1:{sshd.port}", "ssh-ed25519"]
    assert "SHA256:" in out and "not pinned yet" in out
    assert "nothing was changed" in err and f"kubewright -i {site} trust --yes" in err
    assert not (site / "known_hosts").exists()


def test_with_yes_the_shown_key_is_pinned_and_a_second_call_says_so(
        site: Path, sshd: Sshd, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(site, "trust", "--yes") == 0
    assert (site / "known_hosts").read_text() == sshd.known_hosts
    capsys.readouterr()
    assert run(site, "trust") == 0
    assert "is pinned already" in capsys.readouterr().out
    assert (site / "known_hosts").read_text() == sshd.known_hosts


def test_a_changed_key_is_refused_even_with_yes_until_it_is_replaced(
        site: Path, sshd: Sshd, capsys: pytest.CaptureFixture[str]) -> None:
    forged = sshd.known_hosts.replace("AAAAC3NzaC1lZDI1NTE5AAAAI", "AAAAC3NzaC1lZDI1NTE5AAAAIAAAA")[:-5] + "\n"
    (site / "known_hosts").write_text(forged)
    assert run(site, "trust", "--yes") == 12
    assert (site / "known_hosts").read_text() == forged
    err = capsys.readouterr().err
    assert "not the key that is pinned" in err and f"kubewright -i {site} trust cp1 --replace" in err
    assert run(site, "trust", "cp1", "--replace", "--yes") == 0
    assert (site / "known_hosts").read_text() == sshd.known_hosts


def test_hosts_that_answer_are_pinned_although_another_does_not(
        site: Path, sshd: Sshd, capsys: pytest.CaptureFixture[str]) -> None:
    add_host(site, "w1", free_port())
    assert run(site, "trust", "--yes") == 12
    assert (site / "known_hosts").read_text() == sshd.known_hosts
    assert "w1: connecting as root@127.0.0.1" in capsys.readouterr().err


def test_only_the_named_hosts_are_asked(site: Path, sshd: Sshd) -> None:
    add_host(site, "w1", free_port())
    assert run(site, "trust", "cp1", "--yes") == 0


def test_an_unknown_host_is_a_usage_fault(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(site, "trust", "cp9") == 64
    assert "the inventory has no host cp9" in capsys.readouterr().err


def test_as_json_every_fingerprint_can_be_compared_and_nothing_is_pinned_unasked(
        site: Path, sshd: Sshd, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(site, "-o", "json", "trust") == 15
    row = json.loads(capsys.readouterr().out)["keys"][0]
    assert (row["host"], row["state"], row["pinned_now"]) == ("cp1", "new", False)
    assert row["fingerprint"].startswith("SHA256:")
    assert not (site / "known_hosts").exists()
    assert run(site, "-o", "json", "trust", "--yes") == 0
    assert json.loads(capsys.readouterr().out)["keys"][0]["pinned_now"] is True


def test_the_jump_host_is_pinned_before_anything_behind_it_is_asked(
        site: Path, sshd: Sshd, capsys: pytest.CaptureFixture[str]) -> None:
    text = yaml.safe_load((site / "cluster.yaml").read_text())
    text["ssh"] |= {"jump": f"root@localhost:{sshd.port}", "key": str(sshd.key)}
    (site / "cluster.yaml").write_text(yaml.safe_dump(text))
    assert run(site, "trust", "--yes") == 0
    assert [line.split()[:4] for line in capsys.readouterr().out.splitlines()] == [
        ["jump", "host", "of", "cp1"], ["cp1", f"127.0.0.1:{sshd.port}", "ssh-ed25519", sshd_fingerprint(site)]]
    assert (site / "known_hosts").read_text().count("\n") == 2


def sshd_fingerprint(site: Path) -> str:
    from provisioner.transport.hostkeys import pinned

    key = pinned(site / "known_hosts")[0].key
    assert key is not None
    return str(key.fingerprint)


def test_a_no_pins_nothing_and_is_not_0(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("provisioner.cli.consent.can_ask", lambda: True)
    monkeypatch.setattr("click.confirm", lambda question, **_: False)
    assert run(site, "trust") == 15
    assert not (site / "known_hosts").exists()


def test_machines_that_show_the_same_key_are_told(
        site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with run_sshd(tmp_path / "template", addresses=("127.0.0.1", "127.0.0.2")) as clone:
        text = yaml.safe_load((site / "cluster.yaml").read_text())
        text["hosts"] = {name: {"address": f"127.0.0.{number}", "roles": [role], "ssh": {"port": clone.port}}
                         for number, name, role in ((1, "cp1", "control-plane"), (2, "w1", "worker"))}
        (site / "cluster.yaml").write_text(yaml.safe_dump(text))
        assert run(site, "trust", "--yes") == 0
    assert "warning: cp1, w1 show the same key SHA256:" in capsys.readouterr().err
