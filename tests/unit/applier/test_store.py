from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provisioner.applier import artifacts, files, states
from tests.unit.applier.support import ME, US, FakeHost


def entry(path: str, data: bytes, **more: object) -> dict:
    return {"path": path, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "mode": 0o755, **more}


def state(wanted: dict[str, Any]) -> str:
    return f"artifact sha256:{wanted['sha256']} {wanted['mode']:04o} {ME}:{US}"


A, B = os.urandom(3_000_000), b"small"


def test_artifacts_arrive_whole_with_their_mode_and_are_hashed_once(
        box: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [entry("/opt/kubewright/etcd/3/etcd", A), entry("/opt/kubewright/cni/1/ptp", B, mode=0o644)]
    assert box.send("store", {"artifacts": wanted}, A + B) == {"stored": [w["path"] for w in wanted]}
    assert box.path(wanted[0]["path"]).read_bytes() == A
    assert [box.path(w["path"]).stat().st_mode & 0o777 for w in wanted] == [0o755, 0o644]
    assert not box.leftovers()
    monkeypatch.setattr(artifacts, "CHUNK", None)  # reading the file now would fail
    for w in wanted:
        assert states.Look(box.host).see({"kind": "artifact", **w})[0] == state(w)


def test_an_artifact_changed_behind_our_back_is_hashed_again(box: FakeHost) -> None:
    wanted = entry("/opt/x", B)
    box.call("store", {"artifacts": [wanted]}, B)
    status = box.path("/opt/x").stat()
    box.path("/opt/x").write_bytes(b"SMALL")
    os.utime(box.path("/opt/x"), ns=(status.st_atime_ns, status.st_mtime_ns))
    assert states.Look(box.host).see({"kind": "artifact", **wanted})[0] == (
        state(entry("/opt/x", b"SMALL")))


def test_bad_bytes_never_get_the_name_and_the_others_are_stored(box: FakeHost) -> None:
    box.put("/opt/bad", "the old one")
    bad = entry("/opt/bad", b"right")
    text = box.call("store", {"artifacts": [bad, entry("/opt/good", B)]}, b"wrong" + B, status=1)
    assert "/opt/bad: sha256" in text
    assert box.path("/opt/bad").read_text() == "the old one"
    assert box.path("/opt/good").read_bytes() == B
    assert not box.leftovers()


def short(monkeypatch: pytest.MonkeyPatch, accepts: int = 4097) -> None:
    """Let every write take only a part of what it is given, as the kernel does where a disk is about to be full."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data[:accepts])))


def test_a_disk_that_takes_only_a_part_at_a_time_gets_the_whole_file(
        box: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    short(monkeypatch)
    box.call("store", {"artifacts": [entry("/opt/x", A)]}, A)
    assert box.path("/opt/x").read_bytes() == A
    files.write(str(box.path("/etc/y")), A)
    assert box.path("/etc/y").read_bytes() == A


def test_bytes_that_did_not_reach_the_file_never_get_its_name(box: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither where the kernel lies about how much it took, nor where other bytes come back than were written."""
    write = os.write
    for lie in (lambda fd, data: write(fd, bytes(data[:-1])) + 1, lambda fd, data: write(fd, bytes(len(data)))):
        monkeypatch.setattr(os, "write", lie)
        box.call("store", {"artifacts": [entry("/opt/x", A)]}, A, status=1)
        assert not box.path("/opt/x").exists()
        assert not box.leftovers()


@pytest.fixture
def tight(box: FakeHost) -> Iterator[Path]:
    """Give the box a store with less room than an artifact needs, and more than a MiB less."""
    place = box.path("/opt/kubewright")
    place.mkdir(parents=True)
    size = f"size={len(A) - 300_000}"
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(place)], check=False, timeout=30)
    if done.returncode:
        pytest.skip("only root mounts a small file system")
    yield place
    subprocess.run(["umount", str(place)], check=True, timeout=30)


@pytest.mark.parametrize("refused", ["at once", "by a later write"])
def test_a_file_system_without_writes_past_its_cache_gets_the_whole_file_all_the_same(
        box: FakeHost, monkeypatch: pytest.MonkeyPatch, refused: str) -> None:
    control, write, written = fcntl.fcntl, os.write, []

    def no_direct(fd: int, command: int, value: int = 0) -> int:
        if refused == "at once" and command == fcntl.F_SETFL and value & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return control(fd, command, value)

    def aligned(fd: int, data: memoryview) -> int:
        written.append(bool(control(fd, fcntl.F_GETFL) & os.O_DIRECT))
        if written[-1] and len(written) > 1:
            raise OSError(errno.EINVAL, "Invalid argument")
        return write(fd, data)

    monkeypatch.setattr(fcntl, "fcntl", no_direct)
    monkeypatch.setattr(os, "write", aligned)
    box.call("store", {"artifacts": [entry("/opt/x", A)]}, A)
    assert box.path("/opt/x").read_bytes() == A
    assert not written[-1]


def test_a_disk_that_is_full_within_the_last_mib_of_a_file_keeps_nothing_of_it_and_says_so(
        box: FakeHost, tight: Path) -> None:
    said = box.send("store", {"artifacts": [entry("/opt/kubewright/x", A)]}, A, status=1)
    assert "No space left on device" in said
    assert list(tight.iterdir()) == []
    with pytest.raises(OSError, match="No space left"):
        files.write(str(tight / "y"), A)
    assert list(tight.iterdir()) == []


def test_a_binary_and_its_directories_are_ours_again_once_it_is_streamed_anew(box: FakeHost) -> None:
    wanted = entry("/opt/kubewright/x/1/x", B)
    box.put(wanted["path"], B, 0o777)
    box.path("/opt/kubewright/x").chmod(0o777)
    box.call("store", {"artifacts": [wanted]}, B)
    assert states.Look(box.host).see({"kind": "artifact", **wanted})[0] == state(wanted)


def test_a_stream_that_ends_early_leaves_nothing(box: FakeHost) -> None:
    text = box.call("store", {"artifacts": [entry("/opt/x", A)]}, A[:-5], status=1)
    assert "5 bytes early" in text
    assert not box.path("/opt/x").exists()
    assert not box.leftovers()


def test_what_a_killed_stream_left_is_swept_by_the_next_one_but_not_that_of_a_living_one(box: FakeHost) -> None:
    """A dead one's process id may long be another's, or lie there as a zombie: its lock is gone, and that counts."""
    dead = box.put("/opt/.x.kubewright-tmp.1", "half")
    living = box.put("/opt/.x.kubewright-tmp.999999999", "half")
    with living.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        box.call("store", {"artifacts": [entry("/opt/x", B)]}, B)
    assert not dead.exists()
    assert living.exists()


def test_a_stream_whose_file_is_swept_before_it_is_locked_makes_it_again(
        box: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    swept: list[Path] = []

    def flock(fd: int, how: int) -> None:
        if not swept and (temp := next(box.path("/opt").glob(".x.*"), None)):
            temp.unlink()
            swept.append(temp)

    monkeypatch.setattr(fcntl, "flock", flock)
    head = json.dumps({"artifacts": [entry("/opt/x", B)]}).encode()
    artifacts.store(box.host, io.BytesIO(head + b"\n" + B))
    assert swept
    assert box.path("/opt/x").read_bytes() == B
    assert not box.leftovers()


def test_a_torn_memory_of_digests_only_costs_reading_again(box: FakeHost) -> None:
    wanted = entry("/opt/x", B)
    box.call("store", {"artifacts": [wanted]}, B)
    box.path("/var/lib/kubewright/artifacts.json").write_text('{"/opt/x": ')
    assert states.Look(box.host).see({"kind": "artifact", **wanted})[0] == state(wanted)
    box.call("store", {"artifacts": [entry("/opt/y", B)]}, B)
    assert list(json.loads(box.path("/var/lib/kubewright/artifacts.json").read_text())) == ["/opt/y"]
