"""Take one API server out of every HAProxy while it is changed, and put it back whatever happens meanwhile.

Each HAProxy is asked in three rounds: how it sees the others, to drain this one until nobody is sent there, to take it
back. What takes its time is waited for on the hosts: a round costs each of them a process and a look at all it has.
"""

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
PATIENCE = 4.0      # seconds of one round in which a host looks by itself for a server to come back
T = TypeVar("T")


@contextmanager
def out_of_service(session: Session, host: str) -> Iterator[None]:
    """Keep new connections from `host`'s API server during the block, where it serves and others can serve instead.

    On entry every other API server is proved ready, and every HAProxy has shown that it drains this one and gives it
    no new session; on exit every HAProxy has shown that it takes it back. After a failure in the block it is set ready
    as well, and not waited for: what does not answer its checks, HAProxy keeps out by itself.
    """
    others = [h for h in session.api_servers if h != host]
    if not others or not api_servers.api_servers_that_serve(session, [host]):
        yield
        return
    api_servers.other_api_servers_are_ready(session, host)
    balancers = _Balancers(session)
    try:
        balancers.take_out(host, others)
        yield
    except BaseException:
        balancers.put_back(host)
        raise
    balancers.take_back(host)


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
            seen = self.put_back(*left_out)
        self._serve("before", others, lambda: seen)
        self._session.run.still_ours()
        self._agree("before", lambda: self._heard(haproxy.watch(every, self._hosts, host, QUIET, state=DRAIN)),
                    lambda: self._heard(haproxy.watch(every, self._hosts, host, QUIET)),
                    lambda seen: _still_used(*seen, host), f"every HAProxy drains {host} and gives it no new session")

    def put_back(self, *servers: str, patience: float = 0.0) -> dict[str, Servers]:
        """Set servers ready everywhere; a HAProxy that cannot be told is named, and the next run finds it."""
        told = haproxy.set_state(self._session.hosts, self._all, servers, READY, patience)
        self._hosts = [h for h in self._all if h in self._hosts or not isinstance(told[h], KubewrightError)]
        return self._heard({h: told[h] for h in self._hosts})

    def take_back(self, host: str) -> None:
        """Set `host`'s server ready everywhere, and wait until it is in service there."""
        self._serve("after", [host], lambda: self.put_back(host, patience=PATIENCE))

    def _serve(self, when: str, servers: Sequence[str], first: Callable[[], dict[str, Servers]]) -> None:
        every = self._session.hosts
        self._agree(when, first, lambda: self._heard(haproxy.look(every, self._hosts, servers, PATIENCE)),
                    lambda seen: _missing(seen, servers), f"every HAProxy has {', '.join(servers)} in service")

    def _agree(self, when: str, first: Callable[[], dict[str, T]], again: Callable[[], dict[str, T]],
               doubt: Callable[[T], str], proof: str) -> None:
        """Wait until no HAProxy that answers has a doubt: in what `first` brings, else in what `again` does."""
        looks = iter([first])

        def reason() -> str:
            doubts = {h: doubt(seen) for h, seen in next(looks, again)().items()}
            said = "; ".join(f"HAProxy of {h}: {text}" for h, text in doubts.items() if text)
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


def _still_used(servers: Servers, new: int, host: str) -> str:
    server = servers.get(host)
    undrained = f"{host} is {server.admin}" if server and server.admin != DRAIN else ""
    return undrained or (f"still gave {host} {new} new sessions" if new else "")
