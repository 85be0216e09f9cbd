"""The journal of one unit on one host: journald's JSON read into values, and names that people type into units."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from provisioner.errors import UsageFault
from provisioner.transport.hosts import OneHost

_UNIT = re.compile(r"[A-Za-z0-9_:@\\][A-Za-z0-9_:.@\\-]{0,239}")
# systemd.unit(5): the endings that units have
_TYPES = ("service", "socket", "device", "mount", "automount", "swap", "target", "path", "timer", "slice", "scope")
_SHORT = re.compile(r"(\d+)([smhd])")


@dataclass(frozen=True)
class Line:
    """One line of the journal; `time` is in seconds since 1970 by the host's clock, `priority` 0 (worst) to 7."""

    time: float
    process: str
    pid: int
    priority: int
    message: str


def unit_name(word: str) -> str:
    """Return the whole name of the unit that a person calls `word`; UsageFault for what can be no unit's name."""
    if not _UNIT.fullmatch(word):
        raise UsageFault(f"{word!r} cannot be the name of a unit", code="unit-unknown", hint="kubewright logs --help")
    return word if word.rpartition(".")[2] in _TYPES else f"{word}.service"


def since_when(text: str) -> str:
    """Return a time as journalctl reads it: `10m` is ten minutes ago; all else is its own business."""
    short = _SHORT.fullmatch(text)
    return f"-{short[1]}{short[2]}" if short else text


def read(
    one: OneHost, word: str, show: Callable[[Line], object], *, lines: int | None, since: str = "",
    follow: bool = False,
) -> None:
    """Give the newest `lines` (None: all) of a unit's journal to `show`, and with `follow` every further one.

    Raises UsageFault for a unit that the host does not know, naming those of ours there, and for a time that
    journalctl does not understand.
    """
    unit = unit_name(word)
    request = {"unit": unit, "lines": "all" if lines is None else str(lines), "since": since_when(since),
               "follow": follow}
    answer = one.journal(request, lambda entry: show(line_of(entry)))
    if "unknown" in answer:
        raise _unknown(one.name, unit, answer["ours"])
    if "refused" in answer:
        raise UsageFault(f"{one.name}: reading the journal of {unit}: {answer['refused']}",
                         code="journal-refused", hint="kubewright logs --help")


def _unknown(host: str, unit: str, ours: list[str]) -> UsageFault:
    names = [name.removesuffix(".service") for name in ours]
    close = get_close_matches(unit.removesuffix(".service"), names, n=1, cutoff=0.5)
    there = f"units of ours there: {' '.join(names)}" if names else "there are no units of ours there yet"
    return UsageFault(f"{host}: there is no unit {unit}", details=[there], code="unit-unknown",
                      hint=f"kubewright logs {host} {close[0] if close else next(iter(names), 'ssh')}")


def line_of(entry: Mapping[str, Any]) -> Line:
    """Make a Line of journald's JSON, in which every value is text, or a list of bytes where it is no UTF-8."""
    return Line(
        time=int(entry["__REALTIME_TIMESTAMP"]) / 1e6,
        process=_text(entry.get("SYSLOG_IDENTIFIER") or entry.get("_COMM")) or "-",
        pid=int(_text(entry.get("_PID")) or 0),
        priority=int(_text(entry.get("PRIORITY")) or 6),
        message=_text(entry.get("MESSAGE")))


def _text(value: object) -> str:
    """Return a field's text; one that stands in an entry more than once comes as a list of texts."""
    if isinstance(value, list):
        if all(isinstance(v, int) for v in value):
            return bytes(value).decode(errors="replace")
        return "\n".join(_text(v) for v in value)
    return "" if value is None else str(value)


def printable(message: str) -> Iterator[str]:
    """Yield a message's lines, harmless to a terminal: what a program wrote may hold escape sequences."""
    for line in message.split("\n"):
        yield "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in line)
