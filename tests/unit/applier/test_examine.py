"""`examine`: how units live and what they said last, by journals recorded on real nodes; what Pods' networks reach."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.applier import dns, examine, spaces
from provisioner.applier.host import Fault
from provisioner.model.examination import Examination, Lines
from provisioner.transport.answers import examination_of
from tests.unit.applier.support import FakeHost

CASES = Path(__file__).parents[2] / "cases" / "doctor"
WANTED = {"names": "cni-", "server": "127.0.0.1", "query": "kubernetes.default.svc.cluster.local",
          "answer": "10.96.0.1", "tcp": ["127.0.0.1", 1]}


def journal(name: str) -> str:
    return (CASES / name).read_text(encoding="utf-8")


def invocations(text: str) -> list[str]:
    return list(dict.fromkeys(i for line in text.splitlines() if (i := json.loads(line).get("_SYSTEMD_INVOCATION_ID"))))


def test_the_last_words_of_a_unit_that_loops_are_its_own_and_not_systemd_s() -> None:
    assert examine.last_words(journal("loop.jsonl"), "") == ["cannot open the door"]


def test_of_a_unit_that_runs_again_they_are_those_of_the_process_before() -> None:
    text = journal("restarted.jsonl")
    before, running = invocations(text)
    words = examine.last_words(text, running)
    assert len(words) == 3 and words[-1].endswith('"Fast updating node status as it just became ready"')
    assert examine.last_words(text, before)[-1].startswith("E1129 14:52:07.802432")


@pytest.mark.parametrize("text", ["", "no json\n", '["a list"]\n', '{"MESSAGE": "of nobody"}\n'])
def test_a_journal_without_a_word_of_it_gives_none(text: str) -> None:
    assert examine.last_words(text, "") == []


def test_a_message_that_is_no_text_is_read_and_a_long_one_is_cut() -> None:
    entries = [{"_SYSTEMD_INVOCATION_ID": "1", "MESSAGE": list(b"caf\xe9  au lait")},
               {"_SYSTEMD_INVOCATION_ID": "1", "MESSAGE": "x" * 1000}]
    said = examine.last_words("\n".join(map(json.dumps, entries)), "")
    assert said == ["caf\ufffd au lait", "x" * examine.LENGTH]


@pytest.fixture
def journalctl(box: FakeHost, tmp_path: Path) -> Iterator[Path]:
    """A journalctl that says what stands in the file, and writes its arguments beside it."""
    program, said = tmp_path / "bin" / "journalctl", tmp_path / "said"
    said.write_text("")
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\ncat {said}\n')
    program.chmod(0o755)
    yield said


def ask(box: FakeHost, **request: object) -> Examination:
    return examination_of(examine.examine(box.host, request))


def test_a_unit_that_never_ended_costs_no_look_at_its_journal(box: FakeHost, journalctl: Path, tmp_path: Path) -> None:
    box.put("/etc/systemd/system/etcd.service", "[Service]\n")
    box.set_units(etcd={"ActiveState": "active", "SubState": "running"})
    (unit,) = ask(box, units=["etcd.service"], kernel="x").units
    assert (unit.name, unit.runs, unit.restarts, unit.words) == ("etcd.service", True, 0, ())
    assert "--unit" not in (tmp_path / "asked").read_text()


def test_a_unit_that_loops_is_told_with_its_result_and_last_words(box: FakeHost, journalctl: Path) -> None:
    journalctl.write_text(journal("loop.jsonl"))
    box.set_units(loop={"ActiveState": "activating", "SubState": "auto-restart", "NRestarts": "11",
                        "Result": "exit-code", "ExecMainStatus": "3"})
    (unit,) = ask(box, units=["loop.service"], kernel="x").units
    assert (unit.active, unit.sub, unit.restarts, unit.result, unit.status) == (
        "activating", "auto-restart", 11, "exit-code", 3)
    assert unit.words == ("cannot open the door",)


def test_elections_are_found_with_their_moment_and_the_container_s_kernel_is_not_looked_at(
        box: FakeHost, journalctl: Path) -> None:
    line = {"__REALTIME_TIMESTAMP": "1795963831866739",
            "MESSAGE": '{"msg":"raft.node: f51010a78b38de42 elected leader 9368b8f6f0fb972f at term 2"}'}
    journalctl.write_text(json.dumps(line) + "\n" + json.dumps({"MESSAGE": "another"}) + "\n")
    box.put("/run/systemd/container", "systemd-nspawn\n")
    seen = ask(box, kernel="x", said=[{"unit": "etcd.service", "pattern": r"elected leader \S+ at term (\d+)",
                                       "since": "-1h"}])
    assert seen.said == (Lines(((1795963831.866739, line["MESSAGE"]),)),)
    assert seen.kernel.why == "it is a container, which does not see the kernel's messages"


def test_tools_that_hang_cost_their_own_parts_and_all_of_them_one_time(
        box: FakeHost, journalctl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a power cut: every unit has ended, and the journal is being repaired."""
    monkeypatch.setattr(examine, "TIMEOUT", 0.2)
    monkeypatch.setattr(examine, "TOGETHER", 0.6)
    for name in ("journalctl", "systemctl"):
        program = tmp_path / "bin" / name
        program.unlink()
        program.write_text("#!/bin/sh\nexec sleep 60\n")
        program.chmod(0o755)
    began = time.monotonic()
    seen = ask(box, units=["etcd.service"], kernel="x", directories=["/"], said=[
        {"unit": "etcd.service", "pattern": "x"}] * 4)
    assert time.monotonic() - began < 30
    assert {part: why.rpartition(": ")[2] for part, why in seen.unseen.items()} == dict.fromkeys(
        ("units", "failed"), "no answer in 0.2 s")
    assert len(seen.disks) == 1 and seen.kernel.why.startswith("journalctl ")
    assert seen.said[-1].why.endswith("no time was left, other tools took 0.6 s")


def test_what_is_said_all_the_time_hides_nothing_else(box: FakeHost, journalctl: Path) -> None:
    often = [json.dumps({"MESSAGE": f"oom {n}"}) for n in range(3 * examine.FOUND)]
    journalctl.write_text("\n".join([json.dumps({"MESSAGE": "disk sda"}), *often]))
    lines = [text for _, text in ask(box, kernel="(disk (sd|vd))|(oom)").kernel.lines]
    assert (lines[0], lines[-1], len(lines)) == ("disk sda", "oom 149", examine.FOUND + 1)


def test_disks_are_told_once_with_all_directories_on_them_and_what_is_not_there_is_left_out(
        box: FakeHost, journalctl: Path) -> None:
    for place in ("/var/lib", "/opt"):
        box.path(place).mkdir(parents=True, exist_ok=True)
    (room,) = ask(box, kernel="x", directories=["/var/lib", "/opt", "/not/there"]).disks
    assert room.paths == ("/var/lib", "/opt") and 0 < room.used < room.size and room.free > 0


def test_without_networks_of_pods_nothing_was_asked(box: FakeHost, journalctl: Path) -> None:
    inside = ask(box, kernel="x", inside=WANTED).inside
    assert inside is not None and (inside.there, inside.asked, inside.dns, inside.unseen) == (0, 0, {}, {})


def test_a_file_that_is_no_namespace_is_told_as_not_entered(box: FakeHost) -> None:
    box.put("/run/netns/cni-1", "")
    told = spaces.look(box.host, WANTED)
    assert told["there"] == 1 and list(told["asked"]["cni-1"]) == ["entered"]


@pytest.mark.skipif(os.geteuid() != 0, reason="entering a network namespace takes root")
def test_what_is_asked_from_within_a_network_leaves_this_process_in_its_own(box: FakeHost) -> None:
    """The namespace is this process' own, so its loopback is where we listen; another thread stays where it was."""
    box.path("/run/netns").mkdir(parents=True)
    box.path("/run/netns/cni-own").symlink_to("/proc/self/ns/net")
    before = Path("/proc/self/ns/net").readlink()
    with socket.create_server(("127.0.0.1", 0)) as server:
        told = spaces.look(box.host, {**WANTED, "tcp": ["127.0.0.1", server.getsockname()[1]]})
    assert told["asked"]["cni-own"]["tcp"] == "" and told["asked"]["cni-own"]["dns"]
    assert Path("/proc/self/ns/net").readlink() == before


def test_a_name_server_that_gives_another_address_is_not_taken_for_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns, "ask", lambda server, name, timeout: ["10.96.0.99"])
    assert spaces._dns(WANTED) == "kubernetes.default.svc.cluster.local is 10.96.0.99"

    def refused(server: str, name: str, timeout: float) -> list[str]:
        raise Fault("rcode 3")

    monkeypatch.setattr(dns, "ask", refused)
    assert spaces._dns(WANTED) == "rcode 3"
