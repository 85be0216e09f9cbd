"""Ansible runs against real sshds: outcomes per host, strict keys, no secret left behind, nothing that outlives us."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.converge import login, runner
from provisioner.converge.results import HostResult
from provisioner.errors import GateFailed, LockHeld, PlanStale, Unreachable
from provisioner.lab.processes import wait_until
from provisioner.model.events import Event
from provisioner.model.paths import data_dir
from provisioner.transport.target import targets_of
from tests.fakes.sshd import keygen
from tests.unit.converge.conftest import ADDRESSES, Rig, rig_in


def apply(rig: Rig, hosts: list[str], **options: object) -> dict[str, HostResult]:
    run_dir = rig.directory / "run"
    events: list[Event] = []
    return runner.apply(rig.inventory, rig.directory / "bundles", hosts, run_dir=run_dir, emit=events.append,
                        **options)  # type: ignore[arg-type]


def processes_of(directory: Path) -> list[int]:
    """Return the processes that have `directory` in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str(directory).encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Rig, dict[str, HostResult]]]:
    """One run in which six hosts end in six ways: the key of w2 is not pinned, w4 has another than the pinned one."""
    steps = {"cp1": "done-1", "cp2": "stale-1", "w1": "fault-1", "w2": "done-2", "w3": "fenced-1", "w4": "done-4"}
    with rig_in(tmp_path_factory.mktemp("played")) as rig, pytest.MonkeyPatch.context() as patch:
        patch.setenv("MY_TOKEN", "canary-environment")
        patch.setenv("ANSIBLE_STDOUT_CALLBACK", "canary-environment")
        for name in ("LC_ALL", "LANG", "LC_MESSAGES"):
            patch.setenv(name, "xx_XX.UTF-8")       # a locale that this machine does not have
        rig.bundle(**steps)
        known = rig.directory / "known_hosts"
        kind, blob, *_ = keygen(tmp_path_factory.mktemp("key") / "other").split()
        lines = [line for line in known.read_text().splitlines() if not any(ADDRESSES[h] in line for h in ("w2", "w4"))]
        known.write_text("\n".join([*lines, f"[{ADDRESSES['w4']}]:{rig.sshd.port} {kind} {blob}", ""]))
        yield rig, apply(rig, list(steps))


Played = tuple[Rig, dict[str, HostResult]]


def test_every_hosts_outcome_is_kept(played: Played) -> None:
    rig, results = played
    assert {h: r.status for h, r in results.items()} == {
        "cp1": "done", "cp2": "stale", "w1": "failed", "w2": "unreachable", "w3": "fenced", "w4": "unreachable"}
    assert results["cp1"].written == 1 and results["cp1"].fault() is None
    kinds = {h: type(r.fault()) for h, r in results.items() if not r.ok}
    assert kinds == {"cp2": PlanStale, "w1": GateFailed, "w2": Unreachable, "w3": LockHeld, "w4": Unreachable}
    assert "the disk is full" in results["w1"].message
    assert "Host key verification failed" in results["w2"].message
    assert rig.saw("done-2") is None, "a host whose key is not pinned got no byte"


def test_a_host_that_takes_no_orders_of_an_older_run_is_a_lost_lock(played: Played) -> None:
    fault = played[1]["w3"].fault()
    assert fault is not None
    assert (fault.exit_code, fault.code) == (14, "lock-lost")


def test_a_changed_host_key_is_refused_although_ansible_runner_would_not_check(played: Played) -> None:
    rig, results = played
    assert results["w4"].status == "unreachable"
    assert rig.saw("done-4") is None


def test_no_secret_is_left_on_our_side(played: Played) -> None:
    rig, results = played
    assert results["cp1"].ok
    request = rig.saw("done-1")
    assert request is not None and base64.b64decode(request["changes"][0]["content"]) == b"canary-secret"
    left = [f for f in (rig.directory / "run").rglob("*") if f.is_file()]
    assert len(left) > 3
    for file in left:
        data = file.read_bytes()
        assert not any(c in data for c in (b"canary", b"Y2FuYXJ5LXNlY3JldA"))
        assert file.name != "command" or b"PATH" not in data
    assert (rig.directory / "run/ansible").stat().st_mode & 0o777 == 0o700


def test_a_template_in_the_name_of_a_directory_or_a_key_is_a_name(tmp_path: Path) -> None:
    with rig_in(tmp_path, "{{ lookup('pipe', 'touch ran') }}") as rig:
        rig.bundle(cp1="done-1")
        outcome = apply(rig, ["cp1"])["cp1"]
    beside = data_dir("playbooks") / "ran"      # Ansible runs such a template where the playbook lies
    assert [*tmp_path.rglob("ran"), *([beside] if beside.exists() else [])] == []
    assert outcome.ok, outcome.message


def test_a_cancelled_run_ends_its_processes_and_says_so(rig: Rig) -> None:
    rig.bundle(cp1="sleep-1", cp2="done-2")
    results = apply(rig, ["cp1", "cp2"], cancel=lambda: None not in (rig.saw("sleep-1"), rig.saw("done-2")))
    assert results["cp1"].status == "canceled"
    assert results["cp2"].status in ("done", "canceled")
    assert wait_until(lambda: not processes_of(rig.directory / "run"), 60)


def test_a_run_past_its_deadline_is_ended(rig: Rig) -> None:
    rig.bundle(cp1="sleep-1")
    start = time.monotonic()
    result = apply(rig, ["cp1"], timeout=2.0)["cp1"]
    assert result.status == "canceled" and "deadline" in result.message
    assert time.monotonic() - start < 25     # the fake sleeps for 30 s


def test_the_playbook_dies_when_we_are_killed(rig: Rig, tmp_path: Path) -> None:
    rig.bundle(cp1="sleep-1")
    program = f"""
from pathlib import Path
from provisioner.converge import runner
from provisioner.model.cluster import Cluster
from provisioner.model.inventory import Inventory
directory = Path({str(rig.directory)!r})
cluster = Cluster.model_validate_json({rig.inventory.cluster.model_dump_json()!r})
runner.apply(Inventory(path=directory, cluster=cluster, file=directory / "cluster.yaml"), directory / "bundles",
             ["cp1"], run_dir=directory / "run", emit=lambda e: None)
"""
    us = subprocess.Popen([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    try:
        assert wait_until(lambda: rig.saw("sleep-1") is not None, 60)
        assert any(b"ansible-playbook" in Path(f"/proc/{p}/cmdline").read_bytes()
                   for p in processes_of(rig.directory / "run"))
    finally:
        us.send_signal(signal.SIGKILL)
        us.wait()
    assert wait_until(lambda: not processes_of(rig.directory / "run"), 60)


def test_shared_logins_are_closed_on_leaving(rig: Rig) -> None:
    rig.bundle(cp1="done-1", cp2="done-2")
    runner.control_dir.cache_clear()
    apply(rig, ["cp1", "cp2"])
    directory = runner.control_dir()
    assert len(list(directory.iterdir())) == 2 and processes_of(directory)
    runner.close_masters(directory)
    runner.control_dir.cache_clear()
    assert not directory.exists()
    assert wait_until(lambda: not processes_of(directory), 60)


def test_ansible_goes_on_in_the_login_that_was_proved(rig: Rig) -> None:
    rig.bundle(cp1="done-1")
    runner.control_dir.cache_clear()
    directory = runner.control_dir()
    try:
        login.prove(targets_of(rig.inventory)["cp1"], kept=directory)
        logins = rig.sshd.log.count("Accepted publickey")
        assert apply(rig, ["cp1"])["cp1"].status == "done"
        assert rig.sshd.log.count("Accepted publickey") == logins > 0
    finally:
        runner.close_masters(directory)
        runner.control_dir.cache_clear()


def test_what_a_killed_process_left_is_swept_and_a_living_ones_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    gone = subprocess.Popen(["true"])
    gone.wait()
    for name in (f"kw-{gone.pid}-x", f"kw-{os.getpid()}-y", "kw-other-z"):
        (tmp_path / name).mkdir()
    (tmp_path / f"kw-{gone.pid}-x" / "0123").touch()
    runner.sweep()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([f"kw-{os.getpid()}-y", "kw-other-z"])


def test_the_sweep_follows_no_link_that_lies_among_the_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    temporary, precious = tmp_path / "tmp", tmp_path / "home"
    temporary.mkdir()
    precious.mkdir()
    (precious / "thesis").touch()
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(temporary))
    gone = subprocess.Popen(["true"])
    gone.wait()
    (temporary / f"kw-{gone.pid}-x").symlink_to(precious)
    runner.sweep()
    assert (precious / "thesis").exists()


def test_a_run_for_no_host_starts_nothing(rig: Rig) -> None:
    assert apply(rig, []) == {}
    assert not (rig.directory / "run").exists()
