"""Hosts in memory take part in a spreading as the real applier does: the same floor, and the same is told."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

from provisioner.applier import package
from provisioner.decide.spreading import SMALL
from provisioner.errors import KubewrightError
from provisioner.model.desired import Artifact
from provisioner.orchestrate.phases.spreading import News, spread
from provisioner.parallel import ask_all
from provisioner.transport.hosts import OneHost
from provisioner.transport.sharing import Talk, said
from tests.fakes.host import FakeHost
from tests.fakes.hosts import FakeHosts
from tests.fakes.one_host import FakeOne
from tests.unit.compile.compile_fixture import facts, lock

T = TypeVar("T")
NAMES = ("cp1", "cp2", "w1")


class RealOne(FakeOne):
    """The real applier in a process of its own, below a directory."""

    def share(self, talk: Talk, *, epoch: int | None = None) -> None:
        root = self._hosts.root / self.name     # type: ignore[attr-defined]
        root.mkdir()
        argv = package.argv("share")
        process = subprocess.Popen([sys.executable, *argv[1:-1], "--root", str(root), "share"], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE)
        with process:
            assert process.stdin and process.stdout
            sender = threading.Thread(target=self._send, args=(process, talk), daemon=True)
            sender.start()
            for line in process.stdout:
                told = package.answer_of(line)
                assert told is not None
                talk.told(told)
            sender.join(60)
        assert process.returncode == 0

    def _send(self, process: subprocess.Popen[bytes], talk: Talk) -> None:
        assert process.stdin
        for data in said(talk, None):
            process.stdin.write(data)
            process.stdin.flush()
        process.stdin.close()


class RealHosts(FakeHosts):
    """Hosts in memory whose `share` is real."""

    root: Path

    def together(self, fn: Callable[[OneHost], T], hosts: Iterable[str]) -> dict[str, T | KubewrightError]:
        names = list(hosts)
        return dict(ask_all(lambda name: fn(RealOne(self, name)), names, workers=len(names), name="real"))


@dataclass
class Count(News):
    """What is told of a spreading."""

    out: int = 0
    given_: list[str] = field(default_factory=list)
    whole: list[str] = field(default_factory=list)
    odds: list[str] = field(default_factory=list)

    def sent(self, count: int) -> None:
        self.out += count

    def given(self, host: str, item: Artifact) -> None:
        self.given_.append(item.name)

    def complete(self, host: str) -> None:
        self.whole.append(host)

    def odd(self, host: str, message: str) -> None:
        self.odds.append(message)

    @property
    def sum(self) -> tuple[int, list[str], list[str], list[str]]:
        return self.out, sorted(self.given_), sorted(self.whole), self.odds


@pytest.fixture
def files(tmp_path: Path) -> dict[Artifact, Path]:
    found = {}
    for name, size in (("large", SMALL + 12_345), ("larger", 2 * SMALL), ("small", 1000)):
        data, path = os.urandom(size), tmp_path / name
        path.write_bytes(data)
        found[Artifact(path=f"/opt/kubewright/{name}/1/{name}", phase="stage", size=size, name=name, version="1",
                       sha256=hashlib.sha256(data).hexdigest())] = path
    return found


@pytest.mark.timeout(300)
def test_both_end_with_the_same_and_tell_the_same(files: dict[Artifact, Path], tmp_path: Path) -> None:
    wanted = {name: dict(files) for name in NAMES}
    wanted["w1"] = {item: path for item, path in files.items() if item.name != "larger"}
    told = []
    for kind in (FakeHosts, RealHosts):
        hosts = kind({name: FakeHost(name, facts(name, "10.77.0.11")) for name in NAMES}, lock())
        if isinstance(hosts, RealHosts):
            hosts.root = tmp_path / "hosts"
            hosts.root.mkdir()
        news = Count()
        assert spread(hosts, wanted, dict.fromkeys(NAMES, "127.0.0.1"), news, epoch=None) == dict.fromkeys(NAMES)
        told.append(news.sum)
        if not isinstance(hosts, RealHosts):
            for name, of_host in wanted.items():
                assert all(hosts.hosts[name].states["artifact", i.path] == i.want() for i in of_host)
    assert told[0] == told[1]
    assert told[0][1:] == (["large", "large", "larger"], sorted(NAMES), [])
    for name, of_host in wanted.items():
        for item, path in of_host.items():
            assert (tmp_path / "hosts" / name / item.path.lstrip("/")).read_bytes() == path.read_bytes()
