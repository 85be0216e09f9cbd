"""`examine`: what `doctor` asks of a host that should be serving, in one go; changes nothing and creates nothing.

What could not be looked at is answered as the reason why, never as nothing found.
"""

from __future__ import annotations

import json
import os
import re
import time
from typing import Any, Iterator, Mapping, Optional, Sequence

from . import places, spaces, units
from .host import Fault, Host, check_unit
from .inspect import looked

TIMEOUT = 4.0           # seconds for any one tool
TOGETHER = 20.0         # and for all: who asks waits for 30, and what Pods reach is asked within 6 beside them
LINES = 200             # of a unit's journal: the words before its last end are among them
WORDS = 5
LENGTH = 400            # characters of a line
FOUND = 50              # lines that one search may give of each kind
PROPERTIES = (*units.PROPERTIES, "Result", "ExecMainStatus")
Answer = dict[str, Any]


class _Hurried(Host):
    """The host, whose tools all have to answer within one time: on one that ails each may hang."""

    def __init__(self, host: Host) -> None:
        super().__init__(host.root)
        self._until = time.monotonic() + TOGETHER

    def run(self, argv: Sequence[str], *, timeout: float = TIMEOUT, check: bool = True,
            given: str = "") -> str:
        left = self._until - time.monotonic()
        if left <= 0:
            raise Fault(f"{' '.join(argv[:3])}: no time was left, other tools took {TOGETHER:g} s")
        return super().run(argv, timeout=min(timeout, TIMEOUT, left), check=check, given=given)


def examine(host: Host, request: Mapping[str, Any]) -> Answer:
    """Answer how units live and what they said before they ended, what the kernel and journals tell, and what is full.

    With `inside` also what is reached from within its networks. `unseen` has the parts that could not be looked at.
    """
    host = _Hurried(host)
    names = [check_unit(name) for name in request.get("units", ())]
    told, unseen = looked({
        "units": lambda: units.show(host, names, PROPERTIES),
        "failed": lambda: _failed(host, names),
        "disks": lambda: _disks(host, request.get("directories", ())),
        "inside": lambda: spaces.look(host, request["inside"]) if request.get("inside") else None,
    })
    answer = {
        "failed": [], "disks": [], "inside": None, **told, "unseen": unseen, "now": time.time(),
        "kernel": _kernel(host, str(request.get("kernel", ""))),
        "said": [_said(host, one) for one in request.get("said", ())]}
    # Last: after a power cut many units have ended, and each costs a look at the journal.
    return {**answer, "units": [_unit(host, name, seen) for name, seen in told.get("units", {}).items()]}


def _unit(host: Host, name: str, seen: units.Properties) -> Answer:
    """Return how a unit lives; its last words are searched for only where it has ended at least once."""
    restarts, active = units.number(seen, "NRestarts"), seen.get("ActiveState", "")
    ended = units.exists(seen) and (restarts or active not in ("active", "reloading"))
    running = seen.get("InvocationID", "") if active in ("active", "reloading") else ""
    return {"name": name, "exists": units.exists(seen), "active": active, "sub": seen.get("SubState", ""),
            "result": seen.get("Result", ""), "status": units.number(seen, "ExecMainStatus"), "restarts": restarts,
            "since": units.details(seen, [])["since"], "words": _words(host, name, running) if ended else []}


def _words(host: Host, name: str, running: str) -> list[str]:
    argv = ["journalctl", "--quiet", "--no-pager", "--boot", "--output=json", f"--lines={LINES}", f"--unit={name}",
            "--output-fields=MESSAGE,_SYSTEMD_INVOCATION_ID"]
    try:
        return last_words(host.run(argv, timeout=TIMEOUT), running)
    except Fault as fault:
        return [f"(its journal could not be read: {fault})"]


def last_words(journal: str, running: str) -> list[str]:
    """Return what the last process of a unit that has ended said at its end: that which is `running` is another.

    What systemd says of the unit has another invocation's id, and is left out.
    """
    lines = [(entry.get("_SYSTEMD_INVOCATION_ID", ""), _text(entry)) for entry in _entries(journal)]
    over = [one for one in lines if one[0] and one[0] != running]
    # systemd's own lines carry the id of its own start, which is that of no unit: none where it has none.
    last = over[-1][0] if over else ""
    return [text for invocation, text in over if invocation == last][-WORDS:]


def _entries(journal: str) -> Iterator[Mapping[str, Any]]:
    for line in journal.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            yield entry


def _text(entry: Mapping[str, Any]) -> str:
    """Return a message as text; journald gives one that is not UTF-8 as a list of bytes."""
    message = entry.get("MESSAGE") or ""
    text = bytes(message).decode(errors="replace") if isinstance(message, list) else str(message)
    return " ".join(text.split())[:LENGTH]


def _moment(entry: Mapping[str, Any]) -> float:
    return int(entry.get("__REALTIME_TIMESTAMP") or 0) / 1e6


def _failed(host: Host, known: Sequence[str]) -> list[str]:
    """Return the other units that systemd calls failed."""
    argv = ["systemctl", "list-units", "--state=failed", "--plain", "--no-legend", "--no-pager", "--full"]
    return [line.split()[0] for line in host.run(argv, timeout=TIMEOUT, check=False).splitlines()
            if line.split() and line.split()[0] not in known][:FOUND]


def _kernel(host: Host, pattern: str) -> Answer:
    """Return the kernel's messages of this boot that match; `why` they were not looked at, if so."""
    if os.path.exists(host.at("/run/systemd/container")):
        return {"lines": [], "why": "it is a container, which does not see the kernel's messages"}
    return _search(host, ["--dmesg"], "", pattern)


def _said(host: Host, one: Mapping[str, Any]) -> Answer:
    return _search(host, [f"--unit={check_unit(one['unit'])}"], str(one.get("since", "")), str(one["pattern"]))


def _search(host: Host, where: Sequence[str], since: str, pattern: str) -> Answer:
    """Return the lines of the journal that match, with the moment of each, the newest last."""
    argv = ["journalctl", "--quiet", "--no-pager", "--output=json", "--output-fields=MESSAGE", f"--grep={pattern}",
            *where, f"--since={since}" if since else "--boot"]
    try:
        # Without a match it exits 1.
        text = host.run(argv, timeout=TIMEOUT, check=False)
    except Fault as fault:
        return {"lines": [], "why": str(fault)}
    wanted = re.compile(pattern)
    found = [(match.lastindex, [_moment(entry), _text(entry)]) for entry in _entries(text)
             if (match := wanted.search(_text(entry)))]
    return {"lines": _newest_of_each(found), "why": ""}


def _newest_of_each(found: Sequence[tuple[Optional[int], list[Any]]]) -> list[list[Any]]:
    """Return the newest lines of each of the pattern's groups: what is said all the time hides nothing else."""
    kept: list[list[Any]] = []
    count: dict[Optional[int], int] = {}
    for kind, line in reversed(found):
        count[kind] = count.get(kind, 0) + 1
        if count[kind] <= FOUND:
            kept.append(line)
    return kept[::-1]


def _disks(host: Host, directories: Sequence[str]) -> list[Answer]:
    """Return the file systems that those of the directories lie on which are there; /proc and the like have no room."""
    there = [directory for directory in directories if os.path.isdir(host.at(directory))]
    return [one for one in places.look(host, there) if one["size"]]
