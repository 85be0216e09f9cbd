"""Many hosts at once: one connection each, every host's outcome kept, one error that holds all faults."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from provisioner.errors import KubewrightError
from provisioner.model.cures import cures
from provisioner.parallel import Waiting, ask_all
from provisioner.transport.connection import Connection
from provisioner.transport.login import Gateway
from provisioner.transport.target import Hop, Target

T = TypeVar("T")
WORKERS = 64
HINTS = 8                     # commands that differ by host, in one hint


class Pool:
    """The connections of one run; opened when first used, kept until the pool is closed.

    `waiting` is told, if set, which hosts have not answered yet when that takes long.
    """

    def __init__(self, targets: Mapping[str, Target]) -> None:
        self.waiting: Waiting | None = None
        self.targets = dict(targets)
        self._connections: dict[str, Connection] = {}
        self._gateways: dict[tuple[Hop, Path | None, Path], Gateway] = {}
        self._lock = threading.Lock()

    def connection(self, host: str, *, patient: bool = True) -> Connection:
        """Return the host's connection, open; one that was lost is opened anew, the `patient` try that for a while."""
        with self._lock:
            if host not in self._connections:
                self._connections[host] = Connection(self.targets[host], self._gateway(self.targets[host]))
            connection = self._connections[host]
        connection.open(patient=patient)
        return connection

    def standing(self, hosts: Iterable[str]) -> list[str]:
        """Return those hosts whose connection is open now: asking them costs no login."""
        with self._lock:
            return [host for host in hosts if host in self._connections and self._connections[host].is_open]

    def _gateway(self, target: Target) -> Gateway | None:
        if target.jump is None:
            return None
        return self._gateways.setdefault((target.jump, target.key_file, target.known_hosts_file), Gateway(target))

    def map(
        self, fn: Callable[[Connection], T], hosts: Iterable[str], *, patient: bool = True, workers: int = WORKERS,
    ) -> dict[str, T | KubewrightError]:
        """Call `fn` with every host's connection in parallel; a host's failure is its outcome, never another's.

        The answer comes with the last host's: who needs a majority by a deadline is not `patient` with lost ones.
        """
        names = list(dict.fromkeys(hosts))
        try:
            return ask_all(lambda name: self._one(fn, name, patient), names, workers=workers, name="host",
                           waiting=self.waiting)
        except BaseException:
            self.close()        # an interrupt must not wait for commands that run on the hosts
            raise

    def each(self, fn: Callable[[Connection], T], hosts: Iterable[str]) -> dict[str, T]:
        """Like `map`, but raise one error when any host failed."""
        return raise_all(self.map(fn, hosts))

    def _one(self, fn: Callable[[Connection], T], name: str, patient: bool) -> T | KubewrightError:
        try:
            return fn(self.connection(name, patient=patient))
        except KubewrightError as e:
            return e
        except Exception as e:  # this boundary turns a bug on one host into that host's outcome
            fault = KubewrightError(f"{name}: this is a bug: {type(e).__name__}: {e}")
            fault.__cause__ = e
            return fault

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            connections, self._connections = list(self._connections.values()), {}
            gateways, self._gateways = list(self._gateways.values()), {}
        for connection in connections:
            connection.close()
        for gateway in gateways:
            gateway.close()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def raise_all(outcomes: Mapping[str, T | KubewrightError]) -> dict[str, T]:
    """Return the outcomes when no host failed; else raise one error that holds every fault, grouped by cause."""
    failed = {host: o for host, o in outcomes.items() if isinstance(o, KubewrightError)}
    if not failed:
        return {host: o for host, o in outcomes.items() if not isinstance(o, KubewrightError)}
    if len(failed) == 1:
        raise next(iter(failed.values()))
    raise gather(failed, total=len(outcomes))


def gather(failed: Mapping[str, KubewrightError], *, total: int) -> KubewrightError:
    """Make one error of several hosts' errors: largest group first, its kind and hint lead."""
    groups: dict[tuple[type[KubewrightError], str, str], dict[str, KubewrightError]] = {}
    for host, e in failed.items():
        saw = getattr(e, "saw", e.message.removeprefix(f"{host}: "))
        groups.setdefault((_public(type(e)), e.code, _cause(saw, e.code)), {})[host] = e
    ordered = sorted(groups.items(), key=lambda g: -len(g[1]))
    (kind, code, cause), first = ordered[0]
    details = []
    for (_, _, group_cause), members in ordered:
        details += [e.message for e in members.values()] if len(ordered) > 1 or code == "host-key-unknown" else []
        details += [line for e in members.values() for line in e.details]
        if group_cause != cause:
            details += [f"hint: {_together(h)}" for h in (_hints(members),) if h]
    fine = total - len(failed)
    headline = f"{', '.join(first)}: {cause}"
    if len(ordered) > 1:
        headline = f"{', '.join(failed)}: {len(ordered)} different faults"
    if fine:
        details.append(f"the other {fine} of {total} hosts answered")
    details = list(dict.fromkeys(details))      # hosts with one cause have its likely causes in common
    return kind(headline, details=details, hint=_together(_hints(first)), code=code)


def _public(kind: type[KubewrightError]) -> type[KubewrightError]:
    """Return the class of errors.py that decides the exit code."""
    return next(k for k in kind.__mro__ if k.__module__ == "provisioner.errors")


def _cause(saw: str, code: str) -> str:
    """Two hosts never show the same key, yet an unpinned key is one cause."""
    return {"host-key-unknown": "unknown host key", "host-key-changed": "host key changed"}.get(code, saw)


def _hints(members: Mapping[str, KubewrightError]) -> list[str]:
    if len(members) > 1 and all(e.code == "host-key-unknown" for e in members.values()):
        return [f"kubewright trust {' '.join(members)}"]
    return sorted(cures((host, e.hint) for host, e in members.items()))


def _together(hints: Sequence[str]) -> str:
    """Return several hosts' commands as one line to paste; of very many the first few show what they look like."""
    more = len(hints) - HINTS
    return "; ".join(hints[:HINTS]) + (f"  # and {more} more such" if more > 0 else "")
