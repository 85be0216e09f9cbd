"""Take one API server out of every HAProxy while it is changed, and put it back whatever happens meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

from provisioner.errors import KubewrightError
from provisioner.operate import haproxy
from provisioner.operate.haproxy import DRAIN, READY, Server, Servers
from provisioner.orchestrate.gates import api_servers, proofs
from provisioner.orchestrate.session.session import Session

QUIET = 1.0         # seconds without a new session, after which nobody is on the way to a drained server any more
DEADLINE = 30.0     # seconds; two checks of one second are what HAProxy needs to see a server up
T = TypeVar("T")


@contextmanager
def out_of_service(session: Session, host: str) -> Iterator[None]:
    """Keep new connections from `host`'s API server during the block, where it serves and others can serve instead.

    On entry every other API server is proved ready, and every HAProxy has shown that it drains this one and gives it
    no new session; on exit every HAProxy has shown that it takes it back. After a failure in the block it is set ready
    as well, and not waited for: what does not answer its checks, HAProxy keeps out by itself.
    """
    others = [h.name for h in session.cluster.control_planes if h.name != host]
    if not others or not api_servers.api_servers_that_serve(session, [host]):
        yield
        return
    api_servers.other_api_servers_are_ready(session, host)
    balancers = _Balancers(session)
    try:
        balancers.take_out(host, others)
        yield
    finally:
        balancers.put_back(host)
    balancers.agree("after", lambda servers: _missing(servers, [host]), f"every HAProxy has {host} in service")


def restore(session: Session) -> str:
    """Set ready what a killed run left out of service, and say what that was."""
    servers = tuple(session.the_plan.drained_servers)
    if not servers:
        return ""
    _Balancers(session).put_back(*servers)
    return f"{', '.join(servers)} back in service"


class _Balancers:
    """The HAProxies of one turn; one that does not answer is named once and left out of what follows.

    Only to put a server back each is asked again: one whose answer was lost may have heard that it is to drain.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        desired = session.the_plan.desired.hosts
        self._all = [h for h in desired if desired[h].find("unit", haproxy.UNIT) and h not in session.unreachable]
        self._hosts = [*self._all]

    def take_out(self, host: str, others: Sequence[str]) -> None:
        """Drain `host`'s server everywhere, once all others are in service, until nobody is sent to it any more."""
        every = self._session.hosts
        seen = self._heard(haproxy.look(every, self._hosts))
        left_out = [s for s in others if any(s in by and by[s].admin != READY for by in seen.values())]
        if left_out:                    # by a killed run
            self.put_back(*left_out)
        self.agree("before", lambda servers: _missing(servers, others),
                   f"every HAProxy has {', '.join(others)} in service")
        self._session.run.still_ours()
        self._heard(haproxy.set_state(every, self._hosts, [host], DRAIN))
        self.agree("before", lambda servers: _undrained(servers, host), f"every HAProxy drains {host}")
        self._wait("before", lambda: self._sent_to(host), f"no HAProxy gives {host} a new session")

    def put_back(self, *servers: str) -> None:
        """Set servers ready everywhere; a HAProxy that cannot be told is named, and the next run finds it."""
        told = haproxy.set_state(self._session.hosts, self._all, servers, READY)
        self._hosts = [h for h in self._all if h in self._hosts or not isinstance(told[h], KubewrightError)]
        self._heard({h: told[h] for h in self._hosts})

    def agree(self, when: str, doubt: Callable[[Servers], str], proof: str) -> None:
        """Wait until no HAProxy that answers has a doubt."""

        def look() -> str:
            doubts = {h: doubt(seen) for h, seen in self._heard(haproxy.look(self._session.hosts, self._hosts)).items()}
            return "; ".join(f"HAProxy of {h}: {text}" for h, text in doubts.items() if text)

        self._wait(when, look, proof)

    def _sent_to(self, server: str) -> str:
        new = self._heard(haproxy.new_sessions(self._session.hosts, self._hosts, server, QUIET))
        return "; ".join(f"HAProxy of {h} still gave {server} {n} new sessions" for h, n in new.items() if n)

    def _wait(self, when: str, look: Callable[[], str], proof: str) -> None:
        def reason() -> str:
            said = look()
            return said if self._hosts else "no host's HAProxy answers"

        proofs.wait_until(self._session, "control-plane", reason, DEADLINE, when=when, proof=proof)

    def _heard(self, outcomes: Mapping[str, T | KubewrightError]) -> dict[str, T]:
        """Return the answers; a host without one must not stop the others, so it is only named."""
        for host, fault in outcomes.items():
            if isinstance(fault, KubewrightError):
                self._hosts.remove(host)
                self._session.tell("diagnostic", host=host, status="failed",
                                   message=f"{fault.message}; the others go on without it")
        return {host: answer for host, answer in outcomes.items() if not isinstance(answer, KubewrightError)}


def _missing(servers: Servers, wanted: Sequence[str]) -> str:
    out = {name: servers.get(name, Server(name, "unknown", up=False)) for name in wanted}
    return ", ".join(f"{s.name} is {s.admin}{'' if s.up else ' and down'}" for s in out.values() if not s.in_service)


def _undrained(servers: Servers, host: str) -> str:
    server = servers.get(host)
    return f"{host} is {server.admin}" if server and server.admin != DRAIN else ""
