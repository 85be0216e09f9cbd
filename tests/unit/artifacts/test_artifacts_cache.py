"""The cache hands out whole, right bytes or none."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from provisioner.artifacts.cache import Cache, cache_root
from provisioner.artifacts.elf import check_elf
from provisioner.errors import KubewrightError

Elf = Callable[..., bytes]


def accept(path: Path) -> None:
    """Accept anything."""


def names_in(cache: Cache) -> list[str]:
    return [entry.name for entry in (cache.root / "sha256").iterdir()]


def test_the_root_is_ours_then_xdg_then_home() -> None:
    assert cache_root({"KUBEWRIGHT_CACHE": "/c", "XDG_CACHE_HOME": "/x"}) == Path("/c")
    assert cache_root({"XDG_CACHE_HOME": "/x"}) == Path("/x/kubewright")
    assert cache_root({}) == Path.home() / ".cache" / "kubewright"


def test_a_file_gets_the_name_of_its_digest(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"bytes")
    cache = Cache(tmp_path / "cache")
    stored = cache.put(tmp_path / "f", accept)
    assert stored.sha256 == hashlib.sha256(b"bytes").hexdigest()
    path = cache.verified(stored.sha256)
    assert path is not None and path.read_bytes() == b"bytes"
    assert path.stat().st_mode & 0o222 == 0


def test_a_corrupted_file_is_removed_and_not_handed_out(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"bytes")
    cache = Cache(tmp_path / "cache")
    stored = cache.put(tmp_path / "f", accept)
    path = cache.path(stored.sha256)
    path.chmod(0o644)
    path.write_bytes(b"bytez")
    assert cache.verified(stored.sha256) is None
    assert not path.exists()


def test_truncated_bytes_never_get_a_final_name(tmp_path: Path, elf: Elf) -> None:
    whole = elf(body=b"x" * 5000)
    (tmp_path / "tool").write_bytes(whole[:3000])
    cache = Cache(tmp_path / "cache")
    with pytest.raises(KubewrightError, match="is cut short"):
        cache.put(tmp_path / "tool", lambda copy: check_elf(copy, "amd64"))
    assert names_in(cache) == []


def test_unexpected_bytes_never_get_a_final_name(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"part of it")
    cache = Cache(tmp_path / "cache")
    with pytest.raises(KubewrightError, match="not the expected ones") as refusal:
        cache.put(tmp_path / "f", accept, expect="0" * 64)
    assert "0" * 64 in refusal.value.details[0]
    assert names_in(cache) == []


def test_what_a_build_gave_is_forgotten_with_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"bytes")
    cache = Cache(tmp_path / "cache")
    stored = cache.put(tmp_path / "f", accept)
    cache.remember("key", {"f": stored}, {})
    assert cache.recall("key") == {"f": stored}
    cache.path(stored.sha256).unlink()
    assert cache.recall("key") == {}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"files": {"f": {"sha256": "00"}}}', '{"files": 3}'])
def test_a_broken_index_means_that_nothing_is_known(tmp_path: Path, text: str) -> None:
    cache = Cache(tmp_path / "cache")
    cache.remember("key", {}, {})
    (cache.root / "index" / "key.json").write_text(text)
    assert cache.recall("key") == {}


def test_left_overs_of_a_killed_build_are_cleared(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    left = cache.root / "scratch" / "key" / "out"
    left.mkdir(parents=True)
    (left / "half").write_bytes(b"half")
    with cache.locked("key", lambda waited: None) as scratch:
        assert list(scratch.iterdir()) == []
    assert not scratch.exists()


def _hold_until_told(root: Path, held: str, release: int) -> None:
    with Cache(root).locked("key", lambda waited: None):
        Path(held).touch()
        os.read(release, 1)


def test_a_second_build_of_the_same_thing_waits_for_the_first(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    context = multiprocessing.get_context("fork")
    holder = context.Process(target=_hold_until_told, args=(tmp_path / "cache", str(tmp_path / "held"), reading))
    holder.start()
    try:
        while not (tmp_path / "held").exists():
            holder.join(0.01)
        waits: list[float] = []

        def waiting(waited: float) -> None:
            waits.append(waited)
            os.write(writing, b".")

        with Cache(tmp_path / "cache").locked("key", waiting):
            assert waits
    finally:
        os.write(writing, b".")
        holder.join(10)
    assert holder.exitcode == 0
