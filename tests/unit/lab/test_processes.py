"""A process is ended only while it is provably the recorded one; a daemon outlives its starter and is on record."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from provisioner.errors import GateFailed, KubewrightError, PreflightRefused
from provisioner.lab import launch, processes
from provisioner.lab.processes import ProcessRecord


@pytest.fixture
def sleeper() -> object:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def record_of(pid: int) -> ProcessRecord:
    return ProcessRecord(pid, processes.start_time(pid) or "", launch.boot_id())


def test_a_living_process_is_recognised(sleeper: subprocess.Popen[bytes]) -> None:
    assert processes.is_alive(record_of(sleeper.pid))


def test_a_recycled_pid_is_not_the_recorded_process_and_is_not_killed(sleeper: subprocess.Popen[bytes]) -> None:
    stranger = ProcessRecord(sleeper.pid, "1", launch.boot_id())
    assert not processes.is_alive(stranger)
    processes.kill_record(stranger)
    time.sleep(0.05)
    assert sleeper.poll() is None


def test_the_recorded_process_is_killed(sleeper: subprocess.Popen[bytes]) -> None:
    processes.kill_record(record_of(sleeper.pid))
    assert sleeper.wait(timeout=5) == -9


def test_a_process_that_waits_to_be_reaped_counts_as_gone() -> None:
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert processes.start_time(process.pid) is None
    process.wait()


def test_killing_what_is_gone_already_is_fine() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    processes.kill_if(process.pid, lambda _: True)


def test_a_cut_off_record_is_no_record(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text('{"pid": 12')
    assert processes.read_record(tmp_path / "r.json") is None
    assert processes.read_record(tmp_path / "absent.json") is None


def test_what_runs_us_is_never_among_the_processes_to_end() -> None:
    spared = processes.ancestors()
    assert {os.getpid(), os.getppid()} <= spared
    own_network = Path("/proc/self/ns/net")
    assert os.getpid() not in processes.in_namespace(own_network)


def test_a_missing_command_is_named() -> None:
    with pytest.raises(PreflightRefused, match="no-such-tool is not installed"):
        processes.run(["no-such-tool"], doing="trying")


def test_a_failing_command_tells_what_it_said() -> None:
    with pytest.raises(KubewrightError) as caught:
        processes.run([sys.executable, "-c", "import sys; sys.exit('broken')"], doing="trying")
    assert caught.value.details == ("broken",)


def test_a_hanging_command_ends_at_its_deadline() -> None:
    with pytest.raises(GateFailed, match="did not end"):
        processes.run(["sleep", "30"], doing="trying", seconds=0.1)


def start(tmp_path: Path, *command: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run the launcher in our own namespace (joining it again needs root, hence the skip)."""
    if os.geteuid() != 0:
        pytest.skip("joining a network namespace needs root")
    return subprocess.run(
        [sys.executable, "-I", str(Path(launch.__file__)), "--record", str(tmp_path / "p.json"), "--log",
         str(tmp_path / "p.log"), "--netns", "/proc/self/ns/net", *options, "--", *command],
        capture_output=True, text=True, timeout=30, check=False)


def test_a_daemon_outlives_its_starter_with_its_identity_on_record(tmp_path: Path) -> None:
    assert start(tmp_path, "sleep", "60").returncode == 0
    record = processes.read_record(tmp_path / "p.json")
    assert record is not None and processes.is_alive(record)
    assert Path(f"/proc/{record.pid}/cmdline").read_bytes().startswith(b"sleep")
    processes.kill_record(record)
    assert processes.wait_until(lambda: not processes.is_alive(record), 5)


def test_a_command_that_cannot_start_is_told_at_once(tmp_path: Path) -> None:
    done = start(tmp_path, "/no/such/program")
    assert done.returncode == 1 and "/no/such/program" in done.stderr


def test_a_supervised_command_that_cannot_start_is_told_at_once(tmp_path: Path) -> None:
    done = start(tmp_path, "/no/such/program", options=("--reboot-code", "133"))
    assert done.returncode == 1 and "/no/such/program" in done.stderr


def test_a_node_that_asks_for_a_reboot_is_started_again_and_one_that_ends_is_not(tmp_path: Path) -> None:
    program = ("import pathlib, sys; p = pathlib.Path(sys.argv[1]); n = len(p.read_text()) if p.exists() else 0; "
               "p.write_text('x' * (n + 1)); sys.exit(133 if n < 2 else 0)")
    done = start(tmp_path, sys.executable, "-c", program, str(tmp_path / "boots"), options=("--reboot-code", "133"))
    assert done.returncode == 0
    record = processes.read_record(tmp_path / "p.json")
    assert processes.wait_until(lambda: not processes.is_alive(record), 20)
    assert (tmp_path / "boots").read_text() == "xxx"


def test_a_killed_supervisor_takes_its_command_with_it(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    program = "import os, pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(60)"
    start(tmp_path, sys.executable, "-c", program, str(pid_file), options=("--reboot-code", "133"))
    assert processes.wait_until(lambda: pid_file.exists() and pid_file.read_text() != "", 10)
    child = int(pid_file.read_text())
    processes.kill_record(processes.read_record(tmp_path / "p.json"))
    assert processes.wait_until(lambda: processes.start_time(child) is None, 5)
