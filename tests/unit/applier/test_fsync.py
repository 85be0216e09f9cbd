"""What a disk takes for a small write that is safe, and that nothing of the question is left on it."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from provisioner.applier import fsync
from provisioner.applier.host import Fault, Host


def test_every_write_is_synced_and_timed_below_the_directory_to_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                                     ) -> None:
    synced: list[tuple[int, str]] = []
    monkeypatch.setattr(fsync, "TOTAL", fsync.BLOCK * 40)
    monkeypatch.setattr(os, "fdatasync", lambda fd: synced.append((os.fstat(fd).st_size, Path(f"/proc/self/fd/{fd}")
                                                                   .readlink().parent.as_posix())))
    answer = fsync.measure(Host(str(tmp_path)), {"directory": "/var/lib/etcd", "seconds": 30})
    assert answer["samples"] == 40
    assert [size for size, _ in synced] == [fsync.BLOCK * (n + 1) for n in range(40)]
    assert {place for _, place in synced} == {str(tmp_path)}
    assert list(tmp_path.iterdir()) == []


def test_it_ends_after_its_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(x / 10 for x in range(1000))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(os, "fdatasync", lambda fd: None)
    answer = fsync.measure(Host(str(tmp_path)), {"directory": "/var/lib/etcd", "seconds": 2})
    assert answer == {"samples": 7, "p50": 100.0, "p99": 100.0, "worst": 100.0}


def test_the_time_without_a_processor_is_not_the_disk_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each sync takes a tenth of a second, of which the thread could have run for 95 ms."""
    clock, waits = iter(x / 10 for x in range(1000)), iter(x * 0.095 for x in range(1000))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(fsync, "waiting", lambda: next(waits))
    monkeypatch.setattr(os, "fdatasync", lambda fd: None)
    assert fsync.measure(Host(str(tmp_path)), {"directory": "/var/lib/etcd", "seconds": 2})["p99"] == 5.0


def test_a_kernel_without_schedstat_takes_nothing_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_file(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", no_file)
    assert fsync.waiting() == 0.0


def test_on_a_full_disk_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", lambda place: SimpleNamespace(f_bavail=80, f_frsize=1 << 20))
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: pytest.fail("a file was made"))
    with pytest.raises(Fault, match="only 80 MiB are free"):
        fsync.measure(Host(str(tmp_path)), {"directory": "/var/lib/etcd"})


def test_the_99th_of_100_is_what_one_of_them_exceeds() -> None:
    took = [0.001] * 98 + [0.02, 0.5]
    assert fsync.summary(took) == {"samples": 100, "p50": 1.0, "p99": 500.0, "worst": 500.0}
    assert fsync.summary([0.001] * 99 + [0.5] * 1 + [0.001] * 100)["p99"] == 1.0
