"""The API servers as every host's HAProxy sees them, read and set through its runtime socket.

A state set there lasts until HAProxy is restarted or reloaded; the configuration knows none, so `ready` is what each
one starts with.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from provisioner.compile.load_balancer import BACKEND, HAPROXY_SOCKET
from provisioner.errors import KubewrightError
from provisioner.model.desired import Socket
from provisioner.model.observed import HostObserved
from provisioner.transport.hosts import Hosts, OneHost

UNIT = "haproxy.service"
READY, DRAIN, MAINT = "ready", "drain", "maint"
SHOW_STATES = f"show servers state {BACKEND}"
SHOW_TOTALS = "show stat -1 4 -1"                 # of every backend (the VIP's is another), servers only
STATES = Socket(path=HAPROXY_SOCKET, phase="load-balancer", line=SHOW_STATES)     # looked at in every survey
# Bits of srv_admin_state (HAProxy 2.6, include/haproxy/server-t.h): what was asked for, here or by the configuration.
_MAINT_BITS, _DRAIN_BITS = 0x01 | 0x02 | 0x04 | 0x20 | 0x40, 0x08 | 0x10
_RUNNING = 2                                        # srv_op_state


class HaproxyFault(KubewrightError):
    """A HAProxy did not answer at its runtime socket, or refused what it was asked."""

    code = "haproxy"
    exit_code = 13

    def __init__(self, host: str, doing: str, saw: str) -> None:
        super().__init__(f"{host}: HAProxy: {doing}: {saw}")


@dataclass(frozen=True)
class Server:
    """One API server as one HAProxy sees it: `admin` is ready, drain or maint; `up` is what its checks say."""

    name: str
    admin: str
    up: bool

    @property
    def in_service(self) -> bool:
        """Say whether new connections may go there."""
        return self.up and self.admin == READY


Servers = Mapping[str, Server]


def servers_of(text: str) -> dict[str, Server]:
    """Read the answer to SHOW_STATES: a version line, a line of names after `#`, a line a server. ValueError if not."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 2 or lines[0].strip() != "1" or not lines[1].startswith("# "):
        raise ValueError(f"not a list of servers: {text[:80]!r}")
    names = lines[1].removeprefix("# ").split()
    rows = [dict(zip(names, line.split(), strict=False)) for line in lines[2:]]
    try:
        return {row["srv_name"]: Server(row["srv_name"], _admin(int(row["srv_admin_state"])),
                                        int(row["srv_op_state"]) == _RUNNING) for row in rows}
    except KeyError as absent:
        raise ValueError(f"a list of servers without {absent}") from None


def _admin(bits: int) -> str:
    return MAINT if bits & _MAINT_BITS else DRAIN if bits & _DRAIN_BITS else READY


def said(host: HostObserved) -> str:
    """Return what a host's HAProxy answered to SHOW_STATES when it was observed; empty where it did not."""
    return str(host.extra(STATES.kind, STATES.path).get("text", ""))


def seen_by(text: str) -> Servers | None:
    """Return the servers of an answer to SHOW_STATES; None for another text."""
    try:
        return servers_of(text)
    except ValueError:
        return None


def drained(text: str) -> list[str]:
    """Return the servers that somebody took out of service, from an answer to SHOW_STATES; none from another text."""
    return [server.name for server in (seen_by(text) or {}).values() if server.admin != READY]


def totals_of(text: str) -> dict[str, int]:
    """Read the answer to SHOW_TOTALS, CSV: server -> sessions that all backends ever gave it. ValueError if none."""
    totals: dict[str, int] = {}
    try:
        for row in csv.DictReader(io.StringIO(text.removeprefix("# "))):
            totals[row["svname"]] = totals.get(row["svname"], 0) + int(row["stot"])
    except (KeyError, TypeError):
        totals = {}
    if not totals:
        raise ValueError(f"not the counters of servers: {text[:80]!r}")
    return totals


def look(all_hosts: Hosts, hosts: Iterable[str], in_service: Sequence[str] = (), patience: float = 0.0,
         ) -> dict[str, Servers | KubewrightError]:
    """Return how every host's HAProxy sees the API servers; a host that does not answer has its fault.

    Each host looks by itself until all of `in_service` are so there, at most `patience` seconds.
    """
    def seen(one: OneHost) -> Servers:
        return _servers(one, _ask(one, [SHOW_STATES], patience, until=_serving(in_service))[-1][-1])

    return all_hosts.map(seen, hosts)


def set_state(all_hosts: Hosts, hosts: Iterable[str], servers: Sequence[str], state: str, patience: float = 0.0,
              ) -> dict[str, Servers | KubewrightError]:
    """Set `servers` to `state` in every host's HAProxy at once, and return how each sees all of them afterwards.

    With `patience`, each host waits so many seconds at most until those set ready are in service there.
    """
    lines = [f"set server {BACKEND}/{server} state {state}" for server in servers]

    def put(one: OneHost) -> Servers:
        rounds = _ask(one, [*lines, SHOW_STATES], patience, again=[SHOW_STATES], until=_serving(servers))
        _is_set(one, lines, rounds[0])
        return _servers(one, rounds[-1][-1])

    return all_hosts.map(put, hosts)


def watch(all_hosts: Hosts, hosts: Iterable[str], server: str, seconds: float, *, state: str = "",
          ) -> dict[str, tuple[Servers, int] | KubewrightError]:
    """Watch every host's HAProxy for `seconds`: how it sees the servers then, and how many sessions `server` got.

    With `state`, the server is set to it first, so what came before that does not count.
    """
    lines = [f"set server {BACKEND}/{server} state {state}"] if state else []
    looks = [SHOW_STATES, SHOW_TOTALS]

    def seen(one: OneHost) -> tuple[Servers, int]:
        rounds = _ask(one, [*lines, *looks], seconds, again=looks)
        _is_set(one, lines, rounds[0])
        try:
            first, last = (totals_of(answers[-1])[server] for answers in (rounds[0], rounds[-1]))
        except (ValueError, KeyError) as fault:
            raise HaproxyFault(one.name, "counting sessions", str(fault)) from None
        return _servers(one, rounds[-1][-2]), last - first

    return all_hosts.map(seen, hosts)


def _is_set(one: OneHost, lines: Sequence[str], answers: Sequence[str]) -> None:
    refused = [f"{line}: {answer.strip()}" for line, answer in zip(lines, answers, strict=False) if answer.strip()]
    if refused:
        raise HaproxyFault(one.name, "setting a server's state", "; ".join(refused))


def _serving(servers: Sequence[str]) -> list[str]:
    """Return patterns of SHOW_STATES' lines of servers in service: what ends a host's looking, and decides nothing."""
    return [rf"^\d+ {BACKEND} \d+ {re.escape(server)} \S+ {_RUNNING} 0 " for server in servers]


def _servers(one: OneHost, text: str) -> Servers:
    try:
        return servers_of(text)
    except ValueError as fault:
        raise HaproxyFault(one.name, "reading the servers' states", str(fault)) from None


def _ask(one: OneHost, lines: Sequence[str], span: float = 0.0, *, again: Sequence[str] | None = None,
         until: Sequence[str] = ()) -> list[list[str]]:
    return one.ask(HAPROXY_SOCKET, lines, span=span, again=again, until=until)
