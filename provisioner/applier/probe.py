"""`probe`: poll on the host until everything asked for holds, or say what did not and why."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import time
from contextlib import suppress
from typing import Any, Callable, Mapping
from urllib.parse import urlsplit

from . import dns, network, stamps, units
from .host import Fault, Host, caller_gone

ATTEMPT = 2.0
FIRST_ATTEMPT = 1.0  # however near the deadline is: "now, once" must not fail for want of time to answer
SNIPPET = 200
PROGRAMS = ("rules", "ways")        # each starts programs: what costs a host most
NOT_TRIED = "not tried"
Probe = Mapping[str, Any]


class Hopeless(Exception):
    """Waiting longer cannot help."""


def probe(host: Host, request: Mapping[str, Any]) -> dict[str, Any]:
    """Poll until all probes hold at once; those that held are tried again only when all have, to confirm.

    What programs are started for is tried once nothing else is waited for, and in the end, so that its reason is told.
    """
    probes = request["probes"]
    for one in probes:
        if one.get("kind") not in KINDS:
            raise Fault(f"unknown kind of probe: {one.get('kind')!r}")
    began = time.monotonic()
    deadline = began + float(request.get("deadline", 60))
    interval = float(request.get("interval", 0.2))
    reasons: list[str | None] = [NOT_TRIED] * len(probes)
    first = time.monotonic() + FIRST_ATTEMPT
    hope = True
    while hope:
        hope = _round(host, probes, reasons, max(deadline, first))
        if not any(reasons) or time.monotonic() + interval >= deadline or caller_gone():
            break
        if hope:
            time.sleep(interval)
    _try_programs(host, probes, reasons)
    results = [{"name": one.get("name", ""), "ok": reason is None, "reason": reason or ""}
               for one, reason in zip(probes, reasons)]
    return {"ok": not any(reasons), "hopeless": not hope, "seconds": round(time.monotonic() - began, 3),
            "results": results}


def _round(host: Host, probes: list[Probe], reasons: list[str | None], deadline: float) -> bool:
    """Try what does not hold yet, then once more all that held before; return whether waiting can still help."""
    pending = [index for index, reason in enumerate(reasons) if reason is not None]
    first = [index for index in pending if probes[index]["kind"] not in PROGRAMS]
    try:
        _try(host, probes, reasons, first, deadline)
        if not any(reasons[index] for index in first):
            _try(host, probes, reasons, [index for index in pending if index not in first], deadline)
        if not any(reasons):
            _try(host, probes, reasons, [i for i in range(len(probes)) if i not in pending], deadline)
    except Hopeless:
        return False
    return True


def _try_programs(host: Host, probes: list[Probe], reasons: list[str | None]) -> None:
    """Try those that no round came to, as long as a first try may take."""
    which = [i for i, reason in enumerate(reasons) if reason == NOT_TRIED and probes[i]["kind"] in PROGRAMS]
    with suppress(Hopeless):        # no more is waited for
        _try(host, probes, reasons, which, time.monotonic() + FIRST_ATTEMPT)


def _try(host: Host, probes: list[Probe], reasons: list[str | None], which: list[int], deadline: float) -> None:
    look = _Units(host, [probes[i]["unit"] for i in which if "unit" in probes[i]])
    for index in which:
        timeout = max(0.05, min(ATTEMPT, deadline - time.monotonic()))
        try:
            reasons[index] = _attempt(look, probes[index], timeout)
        except Hopeless as end:
            reasons[index] = str(end)
            raise


def _attempt(look: _Units, one: Probe, timeout: float) -> str | None:
    """Return why the probe does not hold now; Hopeless where it would not by waiting longer."""
    try:
        reason = KINDS[one["kind"]](look, one, timeout)
    except (OSError, Fault, http.client.HTTPException) as saw:
        reason = f"{type(saw).__name__}: {saw}" if isinstance(saw, http.client.HTTPException) else str(saw)
    if reason and "patience" in one:
        lived = look.age(one["unit"])
        if lived > float(one["patience"]):
            raise Hopeless(f"{reason}, {lived:.0f} s after the start of {one['unit']}")
    return reason


class _Units:
    """What one round sees of all units: one call, each input read once."""

    def __init__(self, host: Host, names: list[str]) -> None:
        self.host = host
        self.sums = stamps.Sums(host)
        self._names = list(dict.fromkeys(names))
        self._seen: dict[str, units.Properties] = {}

    def get(self, name: str) -> units.Properties:
        if not self._seen:
            self._seen = units.show(self.host, self._names)
        return self._seen[name]

    def age(self, name: str) -> float:
        """Return for how long the unit's process has run; 0 where nobody can say."""
        try:
            return units.age(self.get(name))
        except (OSError, Fault):
            return 0.0


def _unit(look: _Units, one: Probe, timeout: float) -> str | None:
    """Hold when the unit is active with no job waiting: a queued restart would still show the old process."""
    name = one["unit"]
    seen = look.get(name)
    state = f"{seen.get('ActiveState')} ({seen.get('SubState')})"
    restarts = units.number(seen, "NRestarts")
    if "since_restarts" in one and restarts >= int(one["since_restarts"]) + 2:
        raise Hopeless(f"{state}: exited {restarts - int(one['since_restarts'])} times, it does not stay up")
    if not units.exists(seen):
        return "no such unit"
    if units.has_job(seen):
        return f"{state}, a job is waiting"
    if seen.get("ActiveState") != "active":
        return state
    if one.get("current"):
        current, causes = stamps.compare(look.host, name, stamps.inputs_of(look.host, name, one), look.sums)
        if not current:
            return f"{state}, but started with other inputs: {', '.join(causes) or 'no record of its start'}"
    return None


def _tcp(look: _Units, one: Probe, timeout: float) -> str | None:
    socket.create_connection((one["address"], int(one["port"])), timeout).close()
    return None


def _file(look: _Units, one: Probe, timeout: float) -> str | None:
    return None if os.path.exists(look.host.at(one["path"])) else "not there"


def _http(look: _Units, one: Probe, timeout: float) -> str | None:
    """Hold when the answer has the wanted status; the certificate is always verified, no proxy is asked."""
    url = urlsplit(one["url"])
    port = url.port or (443 if url.scheme == "https" else 80)
    name = url.hostname or ""
    with socket.create_connection((name, port), timeout) as plain:
        stream = plain
        if url.scheme == "https":
            stream = _context(look.host, one).wrap_socket(plain, server_hostname=one.get("server_name") or name)
        with stream:
            connection = http.client.HTTPConnection(one.get("server_name") or name, port, timeout=timeout)
            connection.sock = stream
            connection.request("GET", (url.path or "/") + (f"?{url.query}" if url.query else ""))
            answer = connection.getresponse()
            body = answer.read1(SNIPPET).decode(errors="replace") if answer.status != one.get("status", 200) else ""
    if answer.status == one.get("status", 200):
        return None
    return " ".join(f"{answer.status} {answer.reason}: {body}".split())


def _dns(look: _Units, one: Probe, timeout: float) -> str | None:
    """Hold when the server knows the name, and gives the wanted address where one is asked for."""
    found = dns.ask(one["server"], one["query"], timeout)
    if found and one.get("answer", found[0]) in found:
        return None
    return f"{one['query']} is {', '.join(found) or 'nothing'}, should be {one.get('answer', 'an address')}"


def _context(host: Host, one: Probe) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=host.at(one["ca"]) if one.get("ca") else None)
    if one.get("cert"):
        context.load_cert_chain(host.at(one["cert"]), host.at(one["key"]), password=lambda: b"")
    return context


KINDS: dict[str, Callable[[_Units, Probe, float], str | None]] = {
    "unit": _unit, "tcp": _tcp, "file": _file, "http": _http, "dns": _dns,
    "rules": lambda look, one, timeout: network.rules(look.host, one, timeout),
    "ways": lambda look, one, timeout: network.ways(look.host, one, timeout),
}
