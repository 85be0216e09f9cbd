"""Load on a lab cluster while a test hurts it: the prober's remote half on one node, and what its attempts found.

Every attempt is a new TCP connection with a new TLS handshake, on a schedule that a slow answer does not delay.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

from provisioner.applier.package import argv, frame
from provisioner.compile import pki
from provisioner.model.availability import Attempt, Batch, batch_of
from provisioner.model.ports import LOCAL_API
from tests.lab.conftest import ROOT, Lab, until

VIP = "https://10.77.0.10:8443"
LOOPBACK = f"https://127.0.0.1:{LOCAL_API}"
WRITES_PER_SECOND = 20
LONGEST = 1800.0     # seconds after which a forgotten load ends by itself
LEDGER = "ledger"    # namespace of the writes


def reads(url: str, *, rate: float = 10, timeout: float = 5.0) -> dict[str, Any]:
    """Return the series `url`: GET /api as HAProxy's checks log in, answered without etcd. Any host may send it."""
    return {"name": url, "kind": "http", "url": f"{url}/api", "rate": rate, "timeout": timeout, "ca": pki.CA,
            "cert": pki.HAPROXY.path, "key": pki.HAPROXY.key_path}


def writes(first: int) -> dict[str, Any]:
    """Return the series `writes`: a new ConfigMap each, numbered from `first`. Sent by a control plane, as admin."""
    body = {"metadata": {"name": "n{n}"}, "data": {"n": "{n}"}}
    return {"name": "writes", "kind": "http", "url": f"{VIP}/api/v1/namespaces/{LEDGER}/configmaps", "method": "POST",
            "body": json.dumps(body), "headers": {"Content-Type": "application/json"}, "status": [201],
            "rate": WRITES_PER_SECOND, "timeout": 5.0, "first": first, "ca": pki.CA, "cert": pki.ADMIN.path,
            "key": pki.ADMIN.key_path}


class Load:
    """Series that run on `host` from entering to leaving; `attempts` holds what they found, by their start."""

    def __init__(self, lab: Lab, host: str, series: Sequence[Mapping[str, Any]]) -> None:
        self.attempts: list[Attempt] = []
        self._batches: list[Batch] = []
        self._host = host
        call = lab.argv("lab", "exec", host, "--", *argv("sample"))
        self._process = subprocess.Popen(call, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=subprocess.PIPE)
        assert self._process.stdin is not None
        self._process.stdin.write(frame({"series": list(series), "duration": LONGEST, "patience": LONGEST}))
        self._process.stdin.flush()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._batches.append(batch_of(self._host, 0, json.loads(line)))

    def seconds(self) -> float:
        """Return how long the load has run, by its own clock and to half a second."""
        return self._batches[-1].until if self._batches else 0.0

    def run_until(self, seconds: float) -> None:
        """Let it run until its clock says `seconds`."""
        until(lambda: self._ended() or self.seconds() >= seconds, seconds + 60, f"{seconds} s of load")
        assert not self._ended(), self._failure()

    def run_until_brisk(self, name: str, seconds: float) -> None:
        """Let it run for `seconds`, and for 20 s more at most until ten attempts in a row were answered in 0.1 s."""
        # Where requests overlap, HAProxy sends the next one to the server with the fewest, which a dead one is as well:
        # a second one may fail that no promise is about.
        self.run_until(seconds)
        end = time.monotonic() + 20

        def brisk() -> bool:
            last = [a for b in list(self._batches) for a in b.attempts if a.series == name][-10:]
            return len(last) == 10 and all(a.took <= 0.1 and not a.why for a in last)

        until(lambda: self._ended() or time.monotonic() > end or brisk(), 30, "brisk answers")

    def _ended(self) -> bool:
        return self._process.poll() is not None

    def __enter__(self) -> Load:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(60)
        finally:
            self._process.kill()
            self._process.wait()
            self._reader.join(10)
        self.attempts = sorted((a for b in self._batches for a in b.attempts), key=lambda a: a.at)
        if kind is None:
            assert self._process.returncode == 0, self._failure()
            assert not any(b.blind for b in self._batches), f"{self._host} itself stood still: nothing is known"

    def _failure(self) -> str:
        assert self._process.stderr is not None
        said = self._process.stderr.read().decode(errors="replace")
        return f"the load ended: {self._process.returncode}: {said}"

    def of(self, name: str) -> list[Attempt]:
        """Return the attempts of one series."""
        return [a for a in self.attempts if a.series == name]

    def failed(self, name: str) -> list[Attempt]:
        """Return those of one series that failed or took longer than they may."""
        return [a for a in self.of(name) if a.why]


def longest_gap(attempts: Iterable[Attempt]) -> float:
    """Return the longest time in seconds between two answers of a series."""
    ends = sorted(a.at + a.took for a in attempts if not a.why)
    return max((b - a for a, b in itertools.pairwise(ends)), default=float("inf"))


def lost_writes(lab: Lab, attempts: Iterable[Attempt]) -> set[str]:
    """Return the acknowledged writes that the cluster no longer has."""
    acknowledged = {f"n{a.number}" for a in attempts if not a.why}
    there = lab.kubectl("get", "configmaps", "-n", LEDGER, "-o", "name").split()
    return acknowledged - {name.removeprefix("configmap/") for name in there}
