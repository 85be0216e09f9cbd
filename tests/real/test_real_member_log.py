"""The etcd that we run, three members on loopback: what a log tells, and what gives a member its place."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.applier import raftlog
from provisioner.decide.members import LOST, MemberData, judge
from provisioner.model.desired import EtcdMember
from provisioner.model.etcd import MemberSeen
from tests.fakes.sshd import free_ports
from tests.real.binaries import binary, until

pytestmark = [pytest.mark.binaries, pytest.mark.timeout(180)]
NAMES = ("a", "b", "c")


class Members:
    """Three members in a directory, each with two ports of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in ("etcd", "etcdctl"):
            binary(name, directory)
        free = free_ports(2 * len(NAMES))
        self.ports = dict(zip(NAMES, zip(free[::2], free[1::2], strict=True), strict=True))
        self.wanted = [EtcdMember(n, "127.0.0.1", *self.ports[n]) for n in NAMES]
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, state: str) -> None:
        client, peer = self.ports[name]
        flags = {"name": name, "data-dir": self.directory / name, "initial-cluster-state": state,
                 "initial-cluster": ",".join(f"{n}=http://127.0.0.1:{p}" for n, (_, p) in self.ports.items()),
                 "listen-client-urls": f"http://127.0.0.1:{client}", "listen-peer-urls": f"http://127.0.0.1:{peer}",
                 "advertise-client-urls": f"http://127.0.0.1:{client}",
                 "initial-advertise-peer-urls": f"http://127.0.0.1:{peer}"}
        with (self.directory / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                [self.directory / "etcd", *(f"--{flag}={value}" for flag, value in flags.items())],
                stdout=log, stderr=subprocess.STDOUT)

    def stop(self, name: str) -> None:
        self.running[name].kill()
        self.running[name].wait(20)

    def ctl(self, *words: str) -> str:
        """Ask the first member."""
        endpoint = f"--endpoints=http://127.0.0.1:{self.ports['a'][0]}"
        done = subprocess.run([self.directory / "etcdctl", endpoint, *words], capture_output=True, text=True,
                              timeout=30, check=False)
        return done.stdout if done.returncode == 0 else ""

    def listed(self) -> list[MemberSeen]:
        rows = [line.split(", ") for line in self.ctl("member", "list").splitlines()]
        return [MemberSeen(int(r[0], 16), r[2], (r[3].replace("http:", "https:"),)) for r in rows]

    def follower(self) -> str:
        """Return a member beside the first that does not lead: a new leader would ask each what it has."""
        leader = json.loads(self.ctl("endpoint", "status", "-w", "json"))[0]["Status"]["leader"]
        return next(m.name for m in self.listed() if m.name != "a" and m.id != leader)

    def data(self) -> dict[str, MemberData]:
        seen = {name: raftlog.look(str(self.directory / name / "member")) for name in NAMES}
        return {name: MemberData(state, more.get("member", "")) for name, (state, more) in seen.items()}


@pytest.fixture
def members(tmp_path: Path) -> Iterator[Members]:
    made = Members(tmp_path)
    yield made
    for name in made.running:
        made.stop(name)


def test_a_member_that_started_empty_is_known_by_its_log_and_joins_anew_when_it_was_taken_out(members: Members) -> None:
    for name in NAMES:
        members.start(name, "new")
    until(lambda: len(members.listed()) == 3 and members.ctl("put", "key", "value"), 60, "a cluster")
    until(lambda: {d.state for d in members.data().values()} == {"there"}, 20, "every log has an entry")
    assert judge(members.wanted, members.data(), members.listed(), 3) == ()

    name = members.follower()
    members.stop(name)
    shutil.rmtree(members.directory / name / "member")
    (gone,) = judge(members.wanted, members.data(), members.listed(), 2)
    members.start(name, "existing")
    until(lambda: members.running[name].poll() is not None, 60, "etcd ends: the leader believes it has what it lost")
    assert members.data()[name].state == "empty"
    (lost,) = judge(members.wanted, members.data(), members.listed(), 2)
    assert (gone.host, gone.saw, lost.host, lost.saw) == (name, LOST, name, LOST)

    number = next(m.id for m in members.listed() if m.name == name)
    url = f"http://127.0.0.1:{members.ports[name][1]}"
    # etcd removes and adds nobody before its members have been connected for 5 s, and these are young.
    until(lambda: members.ctl("member", "remove", f"{number:x}"), 30, "it is removed")
    until(lambda: members.ctl("member", "add", name, f"--peer-urls={url}"), 30, "it is added")
    (left,) = judge(members.wanted, members.data(), members.listed(), 2)
    assert left.saw == "it was added as a member anew, and still has the data of before"
    (members.directory / name / "member").rename(members.directory / name / "member.lost")
    assert judge(members.wanted, members.data(), members.listed(), 2) == ()
    members.start(name, "existing")
    until(lambda: members.data()[name].state == "there", 60, "it has joined")
    assert judge(members.wanted, members.data(), members.listed(), 3) == ()
