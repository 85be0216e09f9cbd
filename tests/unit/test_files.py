"""Files of this machine are written whole, private until they have their mode, and durable."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from provisioner.files import whole, write_whole


def test_a_file_gets_its_bytes_and_mode_whatever_the_umask_and_leaves_no_rest(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_whole(tmp_path / "text", "ü\n", 0o644)
        write_whole(tmp_path / "secret", b"\x00\xff")
    finally:
        os.umask(before)
    found = {p.name: (p.read_bytes(), p.stat().st_mode & 0o777) for p in tmp_path.iterdir()}
    assert found == {"text": ("ü\n".encode(), 0o644), "secret": (b"\x00\xff", 0o600)}


def test_it_is_private_until_it_is_whole_and_synced_with_its_name(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    replace, fsync = Path.replace, os.fsync

    def synced(descriptor: int) -> None:
        seen.append(Path(f"/proc/self/fd/{descriptor}").readlink().is_dir())
        fsync(descriptor)

    def renamed(self: Path, target: Path) -> Path:
        seen.append("rename")
        return replace(self, target)

    opened = os.open

    def open_private(path: Any, flags: int, mode: int = 0o777) -> int:
        assert not flags & os.O_CREAT or mode == 0o600
        return opened(path, flags, mode)

    monkeypatch.setattr(os, "open", open_private)
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    write_whole(tmp_path / "a", "x", 0o644)
    assert seen == [False, "rename", True]


def test_a_disk_that_takes_no_more_leaves_the_old_file_and_no_rest(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(tmp_path / "a", "new")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a", "old")]


def test_a_link_is_replaced_and_what_it_points_to_stays(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("other's")
    (tmp_path / "a").symlink_to("other")
    write_whole(tmp_path / "a", "ours")
    assert ((tmp_path / "other").read_text(), (tmp_path / "a").is_symlink()) == ("other's", False)


def test_many_who_write_one_file_at_once_each_write_it_whole(tmp_path: Path) -> None:
    texts = [letter * 20_000 for letter in "abcdefgh"]
    threads = [threading.Thread(target=write_whole, args=(tmp_path / "a", text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (tmp_path / "a").read_text() in texts
    assert len(list(tmp_path.iterdir())) == 1


def test_a_new_file_takes_the_place_of_none_that_came_to_be_meanwhile(tmp_path: Path) -> None:
    with whole(tmp_path / "a", 0o644, new=True) as file:
        file.write(b"first")
    with pytest.raises(FileExistsError), whole(tmp_path / "a", new=True) as file:
        file.write(b"second")
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(FileExistsError), whole(tmp_path / "link", new=True) as file:
        file.write(b"third")
    assert (tmp_path / "a").read_text() == "first"
    assert {p.name for p in tmp_path.iterdir()} == {"a", "link"}
