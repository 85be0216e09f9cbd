"""`os`: what the operating system waits for, by apt's own words, dpkg's status and Debian's files."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from provisioner.applier import apt as of_apt
from tests.unit.applier.support import FakeHost
from tests.unit.applier.test_network import program

LOCKED = "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 812 (apt-get)"


@pytest.fixture
def apt(box: FakeHost, tmp_path: Path) -> Path:
    """A machine that waits for a reboot and a package; return what its apt-get was called with, line by line."""
    calls = tmp_path / "apt.log"
    program(tmp_path, "apt-get", f"echo \"$@\" >> {calls}\n"
            "case \" $* \" in *' upgrade '*) echo 'Inst runc [1.1.5] (1.1.6 Debian [amd64])' ;; esac")
    program(tmp_path, "apt-mark", "case $1 in showhold) echo haproxy ;; showauto) echo libc6 libtinfo6 ;; esac")
    box.put("/proc/sys/kernel/random/boot_id", "0b5d\n")
    box.put("/run/reboot-required", "*** System restart required ***\n")
    box.put("/run/reboot-required.pkgs", "linux-image-amd64\nlibc6\nlibc6\n")
    box.put("/var/lib/dpkg/status", "Package: a\nStatus: install ok installed\n\n"
                                    "Package: b\nStatus: install ok half-configured\n")
    return calls


def asked(box: FakeHost, **request: Any) -> dict[str, Any]:
    return dict(box.call("os", request))


def test_boot_reboot_packages_and_what_is_held_or_half_done_are_told_and_no_list_is_read_anew(
        box: FakeHost, apt: Path) -> None:
    assert asked(box) == {
        "boot": "0b5d", "required": True, "by": ["libc6", "linux-image-amd64"],
        "would": "Inst runc [1.1.5] (1.1.6 Debian [amd64])\n", "held": ["haproxy"],
        "automatic": ["libc6", "libtinfo6"], "half": ["b"], "unseen": {}}
    [call] = apt.read_text().splitlines()
    assert call.startswith("-s ") and "--with-new-pkgs" in call, "it only says what `apt upgrade` would do"
    box.path("/run/reboot-required").unlink()
    assert asked(box)["required"] is False


def test_lists_are_read_anew_before_anything_else_is_asked(box: FakeHost, apt: Path) -> None:
    assert asked(box, refresh=True)["lists"] is True
    assert [call.split()[-1] for call in apt.read_text().splitlines()] == ["update", "upgrade"]


def test_another_that_reads_the_lists_is_waited_for(
        box: FakeHost, apt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(of_apt, "time", SimpleNamespace(monotonic=time.monotonic, sleep=waited.append))
    program(tmp_path, "apt-get", f"case \" $* \" in *' update '*) echo x >> {apt}; "
            f"[ $(wc -l < {apt}) -gt 2 ] || {{ echo '{LOCKED}' >&2; exit 100; }} ;; esac")
    answer = asked(box, refresh=True)
    assert (answer["lists"], answer["unseen"], len(waited)) == (True, {}, 2)
    monkeypatch.setattr(of_apt, "PATIENCE", -1.0)
    apt.unlink()
    assert "lists/lock" in asked(box, refresh=True)["unseen"]["lists"], "not for ever"


def test_what_could_not_be_asked_is_named_with_why_and_the_rest_is_told(
        box: FakeHost, apt: Path, tmp_path: Path) -> None:
    program(tmp_path, "apt-get", "echo 'E: Release file expired' >&2; exit 100")
    answer = asked(box, refresh=True)
    assert sorted(answer["unseen"]) == ["lists", "would"]
    assert all("Release file expired" in why for why in answer["unseen"].values())
    assert answer["held"] == ["haproxy"] and not {"lists", "would"} & answer.keys()
