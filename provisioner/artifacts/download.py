"""One published file, from a mirror or its publisher: handed out only with the digest that was published of it.

What is cut short is asked for again from where it ended, also of the next place; what came with other bytes is thrown
away. So it does not matter whom one asks: a mirror that is slow, broken or lies costs time and is named.
"""

from __future__ import annotations

import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from provisioner.artifacts import web
from provisioner.artifacts.cache import sha256_of
from provisioner.artifacts.elf import machine_of
from provisioner.errors import KubewrightError, PreflightRefused, RefusedForSafety, of_full_disk

MIRRORS = "KUBEWRIGHT_MIRRORS"
DIRECT, OFF = "direct", "off"
_AT_MOST = 1 << 30                  # the largest that we take is a tenth of it
_CHUNK = 1 << 18

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Patience:
    """How long a place is waited for: the seconds to its next bytes, tries, the seconds between two of them.

    A place that gives less than `least` bytes a second, looked at after `after` seconds, is left for the next one.
    """

    answer: float = 30.0
    tries: int = 3
    pause: float = 1.0
    least: float = 50_000.0
    after: float = 20.0


PATIENCE = Patience()


@dataclass(frozen=True)
class Published:
    """A file that somebody publishes: where, and its sha256. `headers` are what a registry wants to hear."""

    url: str
    sha256: str
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


class _Cut(OSError):
    """It ended before its end: to be asked for again from there."""


class _TooSlow(OSError):
    """So slow that another place is asked."""


def places(url: str, setting: str | None = None) -> list[str]:
    """Return where a file is asked for, in this order: $KUBEWRIGHT_MIRRORS, by default its publisher alone.

    A mirror has it below the publisher's name: https://MIRROR/dl.k8s.io/release/... `direct` is the publisher, `off`
    ends the list.
    """
    text = os.environ.get(MIRRORS, "") if setting is None else setting
    found = []
    for word in (text or DIRECT).replace(",", " ").split():
        if word == OFF:
            break
        parts = urlsplit(url)
        found.append(url if word == DIRECT else f"{word.rstrip('/')}/{parts.netloc}{parts.path}")
    return found


def download(what: Published, partial: Path, progress: Progress, *, patience: Patience = PATIENCE,
             setting: str | None = None) -> Path:
    """Return `partial` once it has the published bytes; what an earlier call left there is gone on with.

    Raises RefusedForSafety where all that anybody gave was something else, else PreflightRefused, each with what every
    place answered; then `partial` holds a beginning or is gone.
    """
    saw, lied = [], False
    asked = places(what.url, setting)
    for number, place in enumerate(asked):
        last = number == len(asked) - 1
        try:
            if _from(place, what, partial, progress, patience, last):
                return partial
        except _Lie as lie:
            lied = True
            saw.append(f"{web.shown(place)}: {lie}")
        except web.FAULTS as fault:
            full = of_full_disk(fault, PreflightRefused)
            if full is not None:
                raise full from None
            saw.append(f"{web.shown(place)}: {web.reason(fault)}")
    kind: type[KubewrightError] = RefusedForSafety if lied else PreflightRefused
    kept = ["what came is kept, and gone on with"] if partial.exists() else []
    raise kind(f"this machine: download {what.name}: " + ("nobody gave the published bytes" if lied else
                                                          "nobody gives it"),
               code="download-lies" if lied else "download",
               details=[*(saw or [f"{MIRRORS} names nobody to ask"]), f"published: sha256 {what.sha256}",
                        *(kept or (["nothing of it was kept"] if lied else [])),
                        "without the internet: a mirror, a bundle, or built here (--source go)"],
               hint=f"export {MIRRORS}=https://ADDRESS,{DIRECT}")


class _Lie(ValueError):
    """All bytes came, and they are others."""


def _from(place: str, what: Published, partial: Path, progress: Progress, patience: Patience, last: bool) -> bool:
    """Ask one place until it gave the file; raises what it ended with. Another's beginning is mistrusted once."""
    fault: BaseException = OSError("was not asked")
    tries = 0
    while tries < patience.tries:
        tries += 1
        began = partial.stat().st_size if partial.exists() else 0
        try:
            _append(place, what, partial, progress, patience, last)
        except web.FAULTS as err:
            fault = err
            if isinstance(err, _TooSlow) or not web.may_pass(err) or of_full_disk(err, PreflightRefused):
                raise
            progress(f"{what.name}: {web.shown(place)} {web.reason(err)}; asked again")
            time.sleep(patience.pause * tries)
            continue
        found = sha256_of(partial)
        if found == what.sha256:
            return True
        seen = _what_is(partial)
        partial.unlink()
        if not began:
            raise _Lie(f"gave other bytes: {seen}, sha256 {found}")
        tries -= 1                  # that was a beginning of before, and the whole is asked for now
    raise fault


def _append(place: str, what: Published, partial: Path, progress: Progress, patience: Patience, last: bool) -> None:
    """Bring what `partial` lacks; a place that cannot begin in the middle gives the whole once more."""
    start = partial.stat().st_size if partial.exists() else 0
    try:
        answer = _opened(place, what, start, patience)
    except urllib.error.HTTPError as fault:
        if not start or fault.code != 416:      # which has no more than we have
            raise
        return
    with answer:
        if start and answer.status != 206:
            start = 0
        kind = answer.headers.get_content_type()
        if kind == "text/html":
            raise ValueError("gave a page (text/html), not the file")
        length = answer.headers.get("Content-Length")
        with partial.open("ab" if start else "wb") as file:
            done = _copy(answer, file, start, lambda got: progress(
                f"{what.name}: {got / 1e6:.0f} MB from {urlsplit(place).hostname or place}"), patience, last)
    if length is not None and done < int(length):
        raise _Cut(f"ended after {start + done} of {start + int(length)} bytes")


def _opened(place: str, what: Published, start: int, patience: Patience) -> urllib.request._UrlopenRet:
    """Open the place at `start`, with the token that a registry asks everybody to fetch first."""
    address, director = web.opener(place)
    request = urllib.request.Request(address, headers=dict(what.headers))  # noqa: S310 - web.opener looked at it
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        return director.open(request, timeout=patience.answer)
    except urllib.error.HTTPError as fault:
        found = web.token(fault, patience.answer) if fault.code == 401 else ""
        if not found:
            raise
    request.add_unredirected_header("Authorization", f"Bearer {found}")    # where it leads on to is not told
    return director.open(request, timeout=patience.answer)


def _copy(answer: IO[bytes], file: IO[bytes], start: int, tell: Callable[[int], None], patience: Patience,
          last: bool) -> int:
    """Copy what comes and return how much it was; too little in the time ends it, where there is another place."""
    done, began = 0, time.monotonic()
    while chunk := answer.read1(_CHUNK) if hasattr(answer, "read1") else answer.read(_CHUNK):
        done += file.write(chunk)
        tell(start + done)
        if start + done > _AT_MOST:
            file.truncate(0)
            raise ValueError(f"gave more than {_AT_MOST >> 20} MB")
        took = time.monotonic() - began
        if not last and took > patience.after and done < took * patience.least:
            raise _TooSlow(f"is slow: {done / took / 1000:.1f} kB/s")
    return done


def _what_is(path: Path) -> str:
    """Say what came instead, as far as its first bytes tell."""
    with path.open("rb") as file:
        head = file.read(512)
    size = f"{path.stat().st_size} bytes"
    if head.lstrip()[:1] == b"<":
        return f"a page, {size}"
    machine = machine_of(head)
    return f"a program for {machine}, {size}" if machine else size
