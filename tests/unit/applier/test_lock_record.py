"""The lock's record on one host, and the fence: real files, real processes, a boot that tests choose."""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from typing import Any

import pytest

from provisioner.applier import fence, lock_record, locks, steps
from provisioner.applier.host import Fault
from tests.unit.applier.support import FakeHost, file_change

BOOT = "/proc/sys/kernel/random/boot_id"


@pytest.fixture
def clock(box: FakeHost, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the host's boot clock, for the test to move."""
    box.put(BOOT, "boot-1\n")
    now = [100.0]
    monkeypatch.setattr(time, "clock_gettime", lambda _: now[0])
    return now


def take(run: str, seen: int, epoch: int) -> dict[str, Any]:
    return {"do": "take", "seen": seen, "epoch": epoch, "run": run, "owner": "ann", "machine": "desk",
            "process": {"pid": 1}, "since": 5.0}


def ask(box: FakeHost, do: str, run: str = "", epoch: int = 0) -> dict[str, Any]:
    return lock_record.lock(box.host, {"do": do, "run": run, "epoch": epoch})


def test_reading_a_host_that_nobody_owns_leaves_nothing_there(box: FakeHost) -> None:
    assert box.call("lock", {"do": "read"}) == {"done": True, "record": {}, "busy": "", "epoch": 0}
    assert list(box.root.iterdir()) == []


def test_who_took_it_is_told_to_everyone_else_with_its_age(box: FakeHost, clock: list[float]) -> None:
    assert lock_record.lock(box.host, take("a", 0, 1))["done"]
    clock[0] += 12
    seen = ask(box, "read")["record"]
    assert {k: seen[k] for k in ("run", "owner", "machine", "since", "epoch", "held", "age")} == {
        "run": "a", "owner": "ann", "machine": "desk", "since": 5.0, "epoch": 1, "held": True, "age": 12.0}


def test_only_one_who_has_read_the_record_as_it_is_now_takes_it(box: FakeHost, clock: list[float]) -> None:
    lock_record.lock(box.host, take("a", 0, 1))
    refused = lock_record.lock(box.host, take("b", 0, 2))
    assert (refused["done"], refused["record"]["run"]) == (False, "a")
    ask(box, "renew", "a", 1)
    assert not lock_record.lock(box.host, take("b", 1, 2))["done"], "renewed since it was read"
    assert lock_record.lock(box.host, take("b", 2, 2))["done"]
    assert not ask(box, "renew", "a", 1)["done"], "the one before learns it at its next renewal"


def test_an_epoch_is_never_used_twice_also_after_a_release(box: FakeHost, clock: list[float]) -> None:
    lock_record.lock(box.host, take("a", 0, 7))
    assert ask(box, "release", "a", 7)["record"]["epoch"] == 7
    assert not lock_record.lock(box.host, take("b", 2, 7))["done"]
    assert lock_record.lock(box.host, take("b", 2, 8))["done"]


def test_nobody_renews_or_releases_what_another_holds(box: FakeHost, clock: list[float]) -> None:
    lock_record.lock(box.host, take("a", 0, 3))
    for do in ("renew", "release"):
        assert not ask(box, do, "b", 3)["done"]
        assert not ask(box, do, "a", 2)["done"]
    assert ask(box, "read")["record"]["held"]


def test_a_renewal_makes_it_young_and_a_boot_ages_it_only_from_there(box: FakeHost, clock: list[float]) -> None:
    lock_record.lock(box.host, take("a", 0, 1))
    clock[0] += 50
    assert ask(box, "renew", "a", 1)["record"]["age"] == 0
    box.put(BOOT, "boot-2\n")
    clock[0] = 4.0
    assert ask(box, "read")["record"]["age"] == 4.0
    clock[0] = 61.0
    assert ask(box, "read")["record"]["age"] == 61.0


def test_of_twenty_who_take_it_at_once_one_gets_it(box: FakeHost) -> None:
    ready, won = threading.Barrier(20), []

    def race(run: str) -> None:
        ready.wait()
        if lock_record.lock(box.host, take(run, 0, 1))["done"]:
            won.append(run)

    racers = [threading.Thread(target=race, args=(f"run{n}",)) for n in range(20)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert len(won) == 1
    assert ask(box, "read")["record"]["run"] == won[0]


@pytest.mark.parametrize("path", ["owner/record.json", "epoch.json"])
@pytest.mark.parametrize("left", ["", '{"epoch": 7, "he', "[]", "\0\0\0"])
def test_what_a_power_cut_tore_is_a_fault_that_names_the_file_and_never_a_free_lock(
        box: FakeHost, path: str, left: str) -> None:
    box.put(f"/var/lib/kubewright/{path}", left)
    said = box.call("lock", {"do": "read"}, status=1)
    assert f"/var/lib/kubewright/{path}: torn, or not ours; when no run and no step is at work, remove it" in said
    with pytest.raises(ValueError, match=r"torn"):
        lock_record.lock(box.host, take("a", 0, 8))


def test_what_is_no_act_on_the_lock_is_refused(box: FakeHost) -> None:
    with pytest.raises(Fault, match="cannot 'steal'"):
        lock_record.lock(box.host, {"do": "steal"})


def test_the_step_that_runs_is_named_and_delays_neither_look_nor_taking(box: FakeHost) -> None:
    with locks.exclusive(box.host, "run1.etcd.0", 1):
        assert ask(box, "read")["busy"] == "run1.etcd.0"
        assert lock_record.lock(box.host, take("a", 0, 1))["done"]


def test_an_order_of_an_older_epoch_is_refused_before_anything_with_14(box: FakeHost) -> None:
    answer = box.call("fence", {"epoch": 5})
    assert (answer["status"], answer["epoch"]) == ("done", 5)
    order = {"step": "old", "timeout": 30, "changes": [file_change("/etc/a", "1")]}
    answer = box.call("apply", {**order, "epoch": 4}, status=14)
    assert (answer["status"], answer["epoch"]) == ("fenced", 5)
    assert not box.path("/etc/a").exists()
    assert not box.path("/var/lib/kubewright/steps").exists()
    assert box.call("apply", {**order, "step": "same", "epoch": 5})["status"] == "done"
    assert box.call("apply", {**order, "step": "by-hand"})["changes"][0]["result"] == "skipped"


def test_nothing_is_stored_for_an_older_epoch(box: FakeHost) -> None:
    box.call("fence", {"epoch": 5})
    entry = {"path": "/opt/x", "sha256": "0" * 64, "size": 1, "mode": 0o755}
    assert box.call("store", {"artifacts": [entry], "epoch": 4}, b"x", status=14)["status"] == "fenced"
    assert not box.path("/opt").exists()


def test_an_epoch_only_rises(box: FakeHost) -> None:
    fence.fence(box.host, {"epoch": 5})
    assert fence.fence(box.host, {"epoch": 4}) | {"message": ""} == {"status": "fenced", "epoch": 5, "message": ""}
    assert fence.installed(box.host) == 5


def test_an_epoch_is_installed_only_when_the_running_step_has_ended(box: FakeHost) -> None:
    with locks.exclusive(box.host, "run1.etcd.0", 1):
        assert fence.fence(box.host, {"epoch": 5, "wait": 0}) == {"busy": "run1.etcd.0"}
    assert fence.installed(box.host) == 0


def test_a_step_that_waited_while_a_newer_run_came_does_nothing(box: FakeHost) -> None:
    # It was started before the epoch was installed, and its turn comes after that.
    place = box.path("/var/lib/kubewright/steps/old")
    place.mkdir(parents=True, mode=0o700)
    (place / "request.json").write_text(json.dumps(
        {"step": "old", "epoch": 4, "timeout": 30, "changes": [file_change("/etc/a", "1")]}))
    fd = os.open(box.path("/var/lib/kubewright/lock"), os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    step = threading.Thread(target=steps.run, args=(box.host, "old"))
    step.start()
    box.put("/var/lib/kubewright/epoch.json", '{"epoch": 5}')
    os.close(fd)
    step.join()
    assert json.loads((place / "result.json").read_text())["status"] == "fenced"
    assert not box.path("/etc/a").exists()


def test_a_host_remembers_whose_it_is_and_takes_no_orders_of_another_cluster(box: FakeHost) -> None:
    a, b = {"cluster": "a", "ca": "sha256:1"}, {"cluster": "b", "ca": "sha256:2"}
    assert fence.owner(box.host) == {}
    assert fence.fence(box.host, {"epoch": 5, "owner": a})["status"] == "done"
    refused = fence.fence(box.host, {"epoch": 6, "owner": b})
    assert (refused["status"], refused["owner"], fence.installed(box.host)) == ("foreign", a, 5)
    assert fence.fence(box.host, {"epoch": 6, "owner": b, "instead_of": {**a, "ca": "sha256:0"}})["status"] == "foreign"
    assert box.call("observe", {"facts": True})["owner"] == a
    assert fence.fence(box.host, {"epoch": 6, "owner": b, "instead_of": a})["status"] == "done"
    assert fence.owner(box.host) == b
    assert fence.fence(box.host, {"epoch": 7})["status"] == "done", "whoever says nothing of it changes nothing of it"
    assert fence.owner(box.host) == b
