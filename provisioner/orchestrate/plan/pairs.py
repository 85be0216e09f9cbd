"""Let the hosts try to reach each other, and their disks and name servers, before anything of ours is there.

Every host listens first, and none tries before all do. All of it ends with its channel: nothing is left on a host when
we are killed.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from provisioner.applier.tries import TOKEN
from provisioner.compile import networks
from provisioner.compile.etcd import DATA_DIR
from provisioner.compile.load_balancer import virtual_router_id
from provisioner.decide.reach import listens, needs
from provisioner.errors import KubewrightError, Unreachable
from provisioner.model.facts import Facts
from provisioner.model.reach import PODS, Alone, Need, Probed, Tried
from provisioner.orchestrate.session.session import Session
from provisioner.transport.answers import told_of

ALIVE = 1.0             # seconds between two signs of life of ours
LISTENING = 20.0        # seconds for the slowest login; who listens later than that is not waited for
ENDING = 10.0
VRRP, TCP, UDP, ICMP = "vrrp", "tcp", "udp", "icmp"
APART = 0.15            # seconds between two balancers that send, see `tries`
LOOKS = {"fsync": "fsync", "dns": "dns", "arp": "twin"}     # what a host finds out by itself, and the check of it
OURS, THEIRS = "ours", "theirs"
REFUSED = "refused"     # a word of the applier's


class Budget(NamedTuple):
    """How many seconds each part may take: little beside an `up`, as much as it needs where it was asked for."""

    disk: float
    hearing: float      # of VRRP: others send every second, if nobody told them otherwise
    trying: float


BRIEF, THOROUGH = Budget(1.5, 1.3, 15.0), Budget(8.0, 3.2, 40.0)


def probe(session: Session, about: Collection[str] | None = None, skip: Collection[str] = (), *,
          thorough: bool = False) -> Probed:
    """Return what trying showed, of all that has one of the hosts `about` at an end, or of all.

    `session.observed` tells their interfaces. Only disks of hosts `about` are written to: a member under load is left
    alone. What only a check of `skip` asks is not asked.
    """
    return _Meeting(session, about, frozenset(skip), thorough=thorough).run()


class _Meeting:
    def __init__(self, session: Session, about: Collection[str] | None, skip: frozenset[str], *, thorough: bool,
                 ) -> None:
        self._session, self._skip = session, skip
        self._budget = THOROUGH if thorough else BRIEF
        self._cluster = session.cluster
        self._facts = {name: observed.facts for name, observed in session.observed.items()}
        self._about = set(self._facts if about is None else about)
        self._wanted = needs(self._cluster, about, {name: self._mtu(name) for name in self._facts})
        self._hosts = [h.name for h in self._cluster.machines if h.name in self._facts and (
            h.name in self._about or any(h.name in (n.source, n.target) for n in self._wanted))]
        # Their services have these ports, also one that waits to be started again: it could not be while we had its.
        self._running = {name for name, observed in session.observed.items() if observed.owner is not None}
        self._sized = {name for n in self._wanted if n.size for name in (n.source, n.target)}
        self._router = virtual_router_id(self._cluster)
        self._token = secrets.token_hex(TOKEN)
        self._requests = self._asked()
        self._changed = threading.Condition()
        self._ready, self._over = threading.Event(), threading.Event()
        self._go: dict[str, list[dict[str, Any]]] = {}
        self._ids: dict[str, frozenset[int | str]] = {}
        self._heard: dict[str, dict[str, Any]] = {name: {"tried": {}} for name in self._hosts}
        self._failed: dict[str, str] = {}
        self._ended: set[str] = set()

    def run(self) -> Probed:
        if not self._hosts:
            return Probed()
        threads = [threading.Thread(target=self._talk, args=(name, request), name=f"reach-{name}", daemon=True)
                   for name, request in self._requests.items()]
        try:
            for thread in threads:
                thread.start()
            self._wait(lambda name: "listening" in self._heard[name], LISTENING)
            began = time.monotonic()
            self._go = self._compose()
            self._ids = {name: frozenset(one["id"] for one in asked) for name, asked in self._go.items()}
            self._ready.set()
            self._wait(self._has_told, self._budget.trying)
            if any(one["protocol"] == VRRP for request in self._requests.values() for one in request["listen"]):
                self._over.wait(max(0.0, began + self._budget.hearing - time.monotonic()))
        finally:                # an interrupt ends it on the hosts as well
            self._ready.set()
            self._over.set()
        until = time.monotonic() + ENDING
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        return Probed(tuple(self._settled(self._outcome(n, need)) for n, need in enumerate(self._wanted)),
                      {name: self._alone(name) for name in self._hosts}, self._router)

    def _mtu(self, name: str) -> int:
        carrier = self._facts[name].carrier(self._cluster.machine(name).address)
        return carrier.mtu if carrier else 0

    def _asked(self) -> dict[str, dict[str, Any]]:
        """Return what each host is asked: where to listen, and what it finds out by itself."""
        on = listens(self._wanted)
        balancers = {h.name for h in self._cluster.vip_holders}
        members = {h.name for h in self._cluster.etcd_hosts}
        return {name: self._request(name, on.get(name, ()), balances=name in balancers, is_member=name in members)
                for name in self._hosts}

    def _request(self, name: str, reached: Iterable[tuple[str, int]], *, balances: bool, is_member: bool,
                 ) -> dict[str, Any]:
        host, facts = self._cluster.machine(name), self._facts[name]
        interface = facts.interface_of(host.address) or ""
        on = dict.fromkeys(one for one in reached if one[0] == VRRP or name not in self._running)
        if balances:
            on[VRRP, 0] = None
        request: dict[str, Any] = {
            "token": self._token, "address": host.address,
            "listen": [{"protocol": protocol, "port": port} for protocol, port in on]}
        if name in self._about:
            asks: dict[str, Any] = {"dns": {"servers": True}}
            asks |= {"arp": {"interface": interface, "address": host.address}} if interface else {}
            if is_member:
                asks["fsync"] = {"directory": DATA_DIR, "seconds": self._budget.disk}
            request |= {part: ask for part, ask in asks.items() if LOOKS[part] not in self._skip}
        return request

    def _talk(self, name: str, request: Mapping[str, Any]) -> None:
        def take(line: dict[str, Any]) -> None:
            try:
                told = told_of(line, self._ids.get(name, frozenset()))
            except ValueError as fault:
                raise Unreachable(f"{name}: its answer cannot be read: {fault}") from fault
            tried = told.pop("tried", None)
            with self._changed:
                self._heard[name].update(told)
                if tried is not None:
                    self._heard[name]["tried"][tried["id"]] = tried
                self._changed.notify_all()

        failed = ""
        try:
            self._session.hosts.on(name).reach(request, self._says(name), take,
                                               seconds=LISTENING + self._budget.trying + ENDING)
        except KubewrightError as fault:
            failed = fault.message.removeprefix(f"{name}: ")
        finally:
            with self._changed:
                self._failed |= {name: failed} if failed else {}
                self._ended.add(name)
                self._changed.notify_all()

    def _says(self, name: str) -> Iterator[bytes]:
        while not self._ready.wait(ALIVE):
            yield b"\n"
        yield json.dumps({"reach": self._go.get(name, [])}).encode() + b"\n"
        while not self._over.wait(ALIVE):
            yield b"\n"

    def _wait(self, done: Callable[[str], bool], seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: all(n in self._ended or done(n) for n in self._hosts), seconds)

    def _has_told(self, name: str) -> bool:
        heard, request = self._heard[name], self._requests[name]
        return "listening" not in heard or ("all" in heard and all(
            part in heard for part in LOOKS if part in request))

    def _compose(self) -> dict[str, list[dict[str, Any]]]:
        """Return what each host is to try, of what somebody listens for now; a need's place in the list is its id."""
        senders = [h.name for h in self._cluster.load_balancers]
        go: dict[str, list[dict[str, Any]]] = {name: [] for name in self._hosts}
        for number, need in enumerate(self._wanted):
            if self._unseen(need):
                continue
            one = {"id": number, "protocol": need.protocol, "port": need.port, "times": need.times, "size": need.size,
                   "address": self._cluster.machine(need.target).address}
            if need.protocol == VRRP:
                one |= {"router": (self._router ^ 0xFF) or 1, "delay": senders.index(need.source) * APART,
                        "from": self._cluster.machine(need.source).address}
            if need.protocol == UDP and self._listening(need) == THEIRS:
                go[need.source].append({**one, "id": f"{number} size", "protocol": ICMP})
                one |= {"protocol": ICMP, "address": self._overlay(need.target), "size": 0}
            go[need.source].append(one)
        return go

    def _listening(self, need: Need) -> str:
        if need.target in self._running and need.protocol != VRRP:
            return THEIRS
        rows = self._heard[need.target].get("listening", ()) if need.target in self._heard else ()
        return next((str(word) for protocol, port, word in rows if (protocol, port) == (need.protocol, need.port)), "")

    def _overlay(self, name: str) -> str:
        """Return the host's own address in the Pod network, nothing where it has none."""
        facts: Facts = self._facts[name]
        device = networks.of(self._cluster).device(self._cluster, self._cluster.machine(name))
        return next((i.addresses[0].partition("/")[0] for i in facts.interfaces
                     if i.name == device and i.addresses and "." in i.addresses[0]), "")

    def _unseen(self, need: Need) -> str:
        """Say why this cannot be tried, nothing where it can."""
        for name in (need.source, need.target):
            if name in self._failed:
                return f"{name} could not be asked: {self._failed[name]}"
            if name not in self._heard or "listening" not in self._heard[name]:
                return f"{name} could not be asked"
        word = self._listening(need)
        if word not in (OURS, THEIRS):
            return f"{need.target} could not listen there: {word or 'no answer'}"
        if need.protocol == UDP and word == THEIRS and not (
                need.why == PODS and self._overlay(need.target) and self._overlay(need.source)):
            return f"where somebody has {need.at} already, nobody answers a question of ours"
        return ""

    def _outcome(self, number: int, need: Need) -> Tried:
        why = self._unseen(need)
        said = self._heard[need.source]["tried"].get(number) if not why else None
        if said is None:
            return Tried(need, None, why or f"{need.source} had no time left for it")
        if need.protocol == VRRP and said["ok"]:
            return self._advertised(need)
        if not said["ok"]:
            return Tried(need, False, str(said["why"]), passes=said.get("passes"))
        size = self._heard[need.source]["tried"].get(f"{number} size", said)
        passes = size.get("passes")
        unsized = "" if passes is not None or not need.size else "it answers no echo (ICMP)"
        return Tried(need, True, "", tuple(said.get("ms", ())), int(said.get("lost", 0)), int(said.get("of", 0)),
                     passes, unsized)

    def _settled(self, tried: Tried) -> Tried:
        """Say nothing of a way at whose end nobody listens now: on a host of the cluster we do not."""
        if tried.ok is False and tried.why == REFUSED and tried.need.target in self._running:
            return Tried(tried.need, None, f"nobody listens at {tried.need.at} of {tried.need.target} now")
        return tried

    def _advertised(self, need: Need) -> Tried:
        """Judge by what the other one heard: an advertisement has no answer."""
        rows = self._heard[need.target].get(VRRP)       # of its last line
        if rows is None:
            return Tried(need, None, f"{need.target} did not tell what it heard")
        sender = self._cluster.machine(need.source).address
        came = any(who == sender and ours for who, _, ours, _ in rows)
        return Tried(need, came, "" if came else "timed out")

    def _alone(self, name: str) -> Alone:
        heard = self._heard[name]
        parts: dict[str, Any] = {part: heard[part] for part in LOOKS if part in heard}
        unseen: dict[str, str] = {part: str(said["unseen"]) for part, said in parts.items() if "unseen" in said}
        seen = {part: said for part, said in parts.items() if part not in unseen}
        asked = {part for part in LOOKS if part in self._requests[name]}
        unseen |= {part: self._failed.get(name, "no answer in time") for part in asked - set(parts)}
        listens = [VRRP, 0, OURS] in heard.get("listening", ())
        routers = heard.get(VRRP) if listens else None
        return Alone(seen.get("fsync"), tuple(seen["arp"]["also"]) if "arp" in seen else None, seen.get("dns"),
                     None if routers is None else tuple((who, router) for who, router, ours, _ in routers if not ours),
                     unseen, name in self._sized)
