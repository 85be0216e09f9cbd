"""An executable is looked at before it is accepted."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from provisioner.artifacts.elf import check_elf
from provisioner.errors import KubewrightError

Elf = Callable[..., bytes]


def test_a_static_executable_of_the_architecture_is_accepted(tmp_path: Path, elf: Elf) -> None:
    for arch, machine in (("amd64", 62), ("arm64", 183)):
        (tmp_path / arch).write_bytes(elf(machine))
        check_elf(tmp_path / arch, arch)


@pytest.mark.parametrize(("change", "saw"), [
    (lambda elf: elf(183), "is for arm64, not amd64"),
    (lambda elf: elf(40), "is for machine 40, not amd64"),
    (lambda elf: elf(interpreter=True), "is linked dynamically"),
    (lambda elf: elf()[:-1], "is cut short"),
    (lambda elf: elf()[:40], "is no ELF executable"),
    (lambda elf: b"", "is no ELF executable"),
    (lambda elf: b"<html>" + bytes(100), "is no ELF executable"),
    (lambda elf: b"\x7fELF\x01" + elf()[5:], "is not 64-bit"),
    (lambda elf: elf()[:16] + b"\x01\x00" + elf()[18:], "is ELF type 1"),
])
def test_other_bytes_are_refused_by_what_they_are(
        tmp_path: Path, elf: Elf, change: Callable[[Elf], bytes], saw: str) -> None:
    path = tmp_path / "tool"
    path.write_bytes(change(elf))
    with pytest.raises(KubewrightError, match=saw):
        check_elf(path, "amd64")


@pytest.mark.skipif(sys.platform != "linux", reason="looks at this machine's Python")
def test_a_real_dynamic_executable_is_refused() -> None:
    with pytest.raises(KubewrightError, match=r"linked dynamically|not amd64"):
        check_elf(Path(sys.executable).resolve(), "amd64")
