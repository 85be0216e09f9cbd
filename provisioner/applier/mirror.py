"""Artifacts from a mirror: files by their digest below one address of a web server, which need not be believed.

What it gives goes the way of all bytes: beside the path, hashed, synced, renamed. A server that is busy, silent or cuts
the answer is asked again; one that has no such file, or another, is not.
"""

from __future__ import annotations

import http.client
import ssl
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import IO, Any, Iterator, Mapping, Optional

from . import artifacts
from .host import Host
from .peers import SLACK, STALL, Lied, Lost

TRIES = 3
PAUSE = 1.0         # seconds before the second request, twice as many before the third
RATE = 500_000      # bytes a second: slower than this it comes sooner from the operator
BUSY = (408, 425, 429)
HEAD = 5.0          # seconds in which a server answers whether it has a file
GET_ALONE = (405, 501)      # what a server answers that gives files and knows no HEAD: it is reached


class Passing(Lost):
    """It may go well a moment later."""


class _Careful(urllib.request.HTTPRedirectHandler):
    """Follows as urllib does, but never from https to anything else."""

    def redirect_request(self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str,
                         headers: Any, newurl: str) -> Optional[urllib.request.Request]:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise Lost(f"it leads on to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Incoming:
    """The answer's bytes; Lost where they are too slow or cut, or once it is `over`."""

    def __init__(self, answer: http.client.HTTPResponse, deadline: float, over: threading.Event) -> None:
        self._answer, self._deadline, self._over = answer, deadline, over

    def readinto(self, part: memoryview) -> int:
        """Fill `part`."""
        filled = 0
        while filled < len(part):
            if self._over.is_set():
                raise Lost("the run has ended")
            if time.monotonic() > self._deadline:
                raise Lost(f"slower than {RATE / 1e6:g} MB/s")
            with _the_servers():        # what is there: readinto would wait for all of it, in drops for ever
                got = self._answer.read1(len(part) - filled)
            if not got:
                raise Passing("the answer was cut")
            part[filled:filled + len(got)] = got
            filled += len(got)
        return filled


def fetch(host: Host, entry: Mapping[str, Any], mirror: Mapping[str, str], over: threading.Event) -> None:
    """Take one artifact from a mirror into the store; Lost where it does not give it, whole and right, in time."""
    opener = _opener(mirror)
    deadline = time.monotonic() + SLACK + int(entry["size"]) / RATE
    url = _url(mirror, entry["sha256"])
    for number in range(1, TRIES + 1):
        try:
            _once(host, entry, opener, url, deadline, over)
            return
        except Passing as fault:
            if number == TRIES or over.wait(PAUSE * number):
                raise Lost(f"{fault}, {number} times") from fault


def reached(mirror: Mapping[str, str], sha256: str) -> str:
    """Ask once whether the mirror has a file for this host, and bring nothing; return why not, or nothing."""
    request = urllib.request.Request(_url(mirror, sha256), method="HEAD")  # noqa: S310 - the inventory's, https or http
    try:
        with _the_servers():
            _opener(mirror).open(request, timeout=HEAD).close()
    except Lost as fault:
        answered = fault.__cause__
        knows_no_head = isinstance(answered, urllib.error.HTTPError) and answered.code in GET_ALONE
        return "" if knows_no_head else str(fault)
    return ""


def _url(mirror: Mapping[str, str], sha256: str) -> str:
    return f"{mirror['url'].rstrip('/')}/files/{sha256}"


def _once(host: Host, entry: Mapping[str, Any], opener: urllib.request.OpenerDirector, url: str, deadline: float,
          over: threading.Event) -> None:
    with _the_servers():
        answer = opener.open(url, timeout=STALL)
    with answer:
        said = answer.headers.get("Content-Length")
        if said not in (None, str(entry["size"])):
            raise Lied(f"it has {said} in place of {entry['size']} bytes")
        wrong = artifacts.take(host, entry, _Incoming(answer, deadline, over))
        if wrong:
            raise Lied(wrong)


def _opener(mirror: Mapping[str, str]) -> urllib.request.OpenerDirector:
    """Return what asks by the proxy that is given alone, and believes the system and `trust`."""
    context = ssl.create_default_context()
    if mirror.get("trust"):
        context.load_verify_locations(cadata=mirror["trust"])
    proxy = mirror.get("proxy")
    return urllib.request.build_opener(
        urllib.request.ProxyHandler({"http": proxy, "https": proxy} if proxy else {}),
        urllib.request.HTTPSHandler(context=context), _Careful())


@contextmanager
def _the_servers() -> Iterator[None]:
    """What goes wrong on the way to a server is Lost, and no fault of this host."""
    try:
        yield
    except urllib.error.HTTPError as fault:
        with fault:
            raise (Passing if fault.code in BUSY or fault.code >= 500 else Lost)(f"it answered {fault.code}") from fault
    except TimeoutError as fault:
        raise Passing("no answer in time") from fault
    except (OSError, http.client.HTTPException) as fault:
        raise _lost(getattr(fault, "reason", fault)) from fault


def _lost(why: Any) -> Lost:
    if isinstance(why, TimeoutError):
        return Passing("no answer in time")
    if isinstance(why, ssl.SSLCertVerificationError):
        return Lost(f"its certificate: {why.verify_message}")
    return Passing(str(getattr(why, "strerror", "") or why or type(why).__name__))
