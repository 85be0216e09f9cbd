"""Look at an executable before it is accepted: right architecture, whole, and static."""

from __future__ import annotations

import struct
from pathlib import Path

from provisioner.errors import KubewrightError

# e_machine of the ELF specification, by Go's name of the architecture.
MACHINES = {"amd64": 62, "arm64": 183}
_EXECUTABLE = {2: "executable", 3: "position-independent executable"}
_PT_INTERP = 3
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")


def check_elf(path: Path, arch: str) -> None:
    """Refuse a file that is not a whole static 64-bit Linux executable for `arch`; the message says what it is."""
    with path.open("rb") as handle:
        head = handle.read(_HEADER.size)
        if len(head) < _HEADER.size or head[:4] != b"\x7fELF":
            raise _refused(path, "is no ELF executable")
        if head[4:6] != b"\x02\x01":
            raise _refused(path, "is not 64-bit little-endian")
        _, kind, machine, _, _, segments, sections, _, _, size, count, section_size, section_count, _ = (
            _HEADER.unpack(head))
        if machine != MACHINES[arch]:
            raise _refused(path, f"is for {_machine_name(machine)}, not {arch}")
        if kind not in _EXECUTABLE:
            raise _refused(path, f"is ELF type {kind}, no executable")
        if path.stat().st_size < sections + section_size * section_count:
            raise _refused(path, "is cut short")
        handle.seek(segments)
        table = handle.read(size * count)
    for number in range(count):
        start_of = _SEGMENT.unpack_from(table, number * size)
        if start_of[0] == _PT_INTERP:
            raise _refused(path, "is linked dynamically")


def machine_of(head: bytes) -> str:
    """Return the architecture that a file is for by its first bytes, empty where it is no executable."""
    if len(head) < _HEADER.size or head[:4] != b"\x7fELF":
        return ""
    return _machine_name(_HEADER.unpack(head[:_HEADER.size])[2])


def _machine_name(machine: int) -> str:
    return next((name for name, value in MACHINES.items() if value == machine), f"machine {machine}")


def _refused(path: Path, saw: str) -> KubewrightError:
    return KubewrightError(f"this machine: check {path.name}: the file {saw}", code="artifact-bad")
