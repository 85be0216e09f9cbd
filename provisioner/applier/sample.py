"""`sample`: attempts on a schedule, timed by this host's clock, told as they end for as long as somebody listens.

A slow attempt never delays the next: each has a thread of its own. When this host itself stands still (a paused
machine, no processor), that time is told as blind, and what was under way then is nobody's failure.
"""

from __future__ import annotations

import os
import select
import ssl
import threading
import time
from collections import deque
from typing import Any, Mapping, Optional

from . import attempts, lines
from .attempts import Contexts, Series
from .host import Fault, Host
from .streams import follow

TICK = 0.5          # seconds between two lines of results
BLIND = 1.0         # a tick that is later than this was not ours to give: the host did not run us
PATIENCE = 30.0     # seconds without a byte on stdin, or without room on stdout: nobody is there any more
TIMEOUT = 5.0
GONE = "nobody listens"
Record = dict[str, Any]


class Sampler:
    """One call of `sample`: its series, what they found since the last line, and who listens."""

    def __init__(self, host: Host, request: Mapping[str, Any], stdin: int, stdout: int) -> None:
        self.series: list[Series] = list(request["series"])
        for one in self.series:
            if one.get("kind") not in attempts.KINDS and one.get("kind") != "stream":
                raise Fault(f"unknown kind of series: {one.get('kind')!r}")
        contexts: Contexts = {}
        self._tls = [attempts.context(host, one, contexts) for one in self.series]
        self._duration = float(request.get("duration", 3600))
        self._patience = float(request.get("patience", PATIENCE))
        self._stdin, self._stdout = stdin, stdout
        self._began = time.monotonic()
        self._stopping = threading.Event()
        self._found: deque[Record] = deque()
        self._under_way = 0
        self._changed = threading.Condition()
        self._blind: list[tuple[float, float]] = []

    def run(self) -> dict[str, Any]:
        """Sample until the time is over, stdin ends or nobody listens; return the last line."""
        for one, tls in zip(self.series, self._tls):
            work = self._follow if one["kind"] == "stream" else self._keep_time
            threading.Thread(target=work, args=(one, tls), daemon=True).start()
        end = self._report_until_the_end()
        self._stopping.set()
        longest = max((float(one.get("timeout", TIMEOUT)) for one in self.series), default=0.0)
        with self._changed:
            self._changed.wait_for(lambda: not self._under_way, 0 if end == GONE else longest + TICK)
        return {**self._line(), "end": end}

    def now(self) -> float:
        """Return the seconds since the beginning."""
        return time.monotonic() - self._began

    def tell(self, one: Series, record: Record) -> None:
        """Keep what one attempt found for the next line."""
        self._found.append({"s": one["name"], **record})

    def _report_until_the_end(self) -> str:
        heard = ticked = self.now()
        listening = True
        while True:
            ready = select.select([self._stdin] if listening else [], [], [], max(0.0, ticked + TICK - self.now()))[0]
            if ready:
                if not os.read(self._stdin, 4096):
                    return "asked"
                heard = self.now()
            if self.now() < ticked + TICK:
                continue
            blind = self._mark_blind(ticked)
            ticked = self.now()
            try:
                lines.write(self._stdout, {**self._line(), **({"blind": round(blind, 3)} if blind else {})},
                            self._patience)
            except (BrokenPipeError, TimeoutError):
                return GONE
            if ticked >= self._duration:
                return "duration"
            if ticked - heard > self._patience + blind:
                return GONE

    def _mark_blind(self, ticked: float) -> float:
        late = self.now() - (ticked + TICK)
        if late <= BLIND:
            return 0.0
        self._blind = [*self._blind[-9:], (ticked, self.now())]
        return late

    def _line(self) -> dict[str, Any]:
        until = round(self.now(), 4)
        found = [self._found.popleft() for _ in range(len(self._found))]
        for record in found:
            end = record["at"] + record.get("took", 0.0)
            if any(record["at"] < to and end > since for since, to in self._blind):
                record["blind"] = True
        return {"until": until, "attempts": found}

    def _keep_time(self, one: Series, tls: Optional[ssl.SSLContext]) -> None:
        """Start the attempts of one series when they are due; those that could not be started in time are left out."""
        interval = 1.0 / float(one["rate"])
        first, number, due = int(one.get("first", 0)), 0, interval * float(one.get("phase", 0.0))
        while not self._stopping.wait(max(0.0, due - self.now())):
            with self._changed:
                self._under_way += 1
            threading.Thread(target=self._attempt, args=(one, tls, first + number), daemon=True).start()
            number += 1
            due += interval * max(1, int((self.now() - due) / interval))

    def _attempt(self, one: Series, tls: Optional[ssl.SSLContext], number: int) -> None:
        began = self.now()
        why, cut = "a fault of the sampler's own", False
        try:
            why, cut = attempts.attempt(one, tls, number, float(one.get("timeout", TIMEOUT)))
        finally:
            record: Record = {"at": round(began, 4), "took": round(self.now() - began, 4)}
            if why:
                record["why"] = why
            if cut:
                record["cut"] = True
            if "first" in one:
                record["n"] = number
            with self._changed:
                self._under_way -= 1
                self.tell(one, record)
                self._changed.notify()

    def _follow(self, one: Series, tls: Optional[ssl.SSLContext]) -> None:
        follow(one, tls, self.now, lambda record: self.tell(one, record), self._stopping)


def sample(host: Host, request: Mapping[str, Any]) -> dict[str, Any]:
    """Sample; stdin stays open as the sign that somebody wants the results."""
    return Sampler(host, request, 0, 1).run()
