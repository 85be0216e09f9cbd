"""Applier commands over one SSH channel: requests out, JSON back; what only looks leaves nothing on the host."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from provisioner.applier.package import answer_of, argv, frame
from provisioner.errors import KubewrightError, LockHeld, RefusedForSafety
from provisioner.model.desired import Artifact, Item
from provisioner.model.examination import Examination
from provisioner.model.generations import Kept
from provisioner.model.inspection import Inspection
from provisioner.model.observed import HostObserved, OwnedItem, Owner
from provisioner.model.os_state import OsState
from provisioner.parallel import Waiting
from provisioner.transport import sharing
from provisioner.transport.answers import clock_off, examination_of, facts_of, inspection_of, items_of
from provisioner.transport.connection import Connection
from provisioner.transport.faults import LOST, HostFault
from provisioner.transport.hosts import LOCK_TIMEOUT, OBSERVE_WAIT, Hosts, OneHost, Take
from provisioner.transport.pool import Pool
from provisioner.transport.refusals import only_says, refusal
from provisioner.transport.serving import BROKE
from provisioner.transport.sharing import STORE_RATE, Progress, Talk
from provisioner.transport.streams import ANSWER, Completed, Lines
from provisioner.transport.target import Target
from provisioner.transport.tunnel import Tunnel, require_forwarding

SLACK = 30.0                    # seconds beyond the host's own deadline, for login and start of Python
OWN_WAIT = 960.0                # an apt that outlived its run ends first
OS_WAIT = 400.0                 # apt's own patience with its sources, and with another apt
EXAMINE = 30.0                  # its tools have 20 s together, and most hosts answer all in one
STALE = 16                      # its exit status where a host is not what the plan saw
FENCED = 14                     # the applier's exit status for a request of an older epoch
ALIVE = 1.0                     # seconds between two signs of life of ours to a host that samples
LOG_LINE = b'"__REALTIME_TIMESTAMP"'   # what every line of journald's JSON has, and no answer of ours
LOG_WAIT = 7 * 86400.0          # seconds after which a log that is followed ends
ATTACHES = 3                    # times that a command is asked whose connection is lost
# 1472 bytes and 28 of headers are the 1500 of an Ethernet.
SIZES = "ping -M do -c 3 -s 1472 {address}    # where only smaller ones pass, set that MTU at both ends"
T = TypeVar("T")


def call(
    connection: Connection, command: str, request: Mapping[str, Any], timeout: float = 60.0,
) -> dict[str, Any]:
    """Run one applier command and return its answer; faults say which host and what it printed.

    All of these may be asked twice, so where the connection is lost meanwhile, they are.
    """
    done = attached(connection, lambda: _run(connection, command, request, timeout))
    return _answer(connection, command, done)


def _run(connection: Connection, command: str, request: Mapping[str, Any], timeout: float, *, again: bool = True,
         ) -> Completed:
    """Ask what serves on the host; where nothing can, run the command on its own.

    So where its process broke, of whatever may be asked twice (`again`): then it tells what is wrong in its own words.
    """
    done = connection.ask(argv("serve"), frame({}), command, request, timeout)
    if done is None or (again and done.rc == BROKE):
        return connection.run(argv(command), frame(request), timeout=timeout)
    return done


def attached(connection: Connection, ask: Callable[[], T]) -> T:
    """Return what `ask` returns; when the connection was lost, it is asked again on a new one, a few times."""
    for _ in range(ATTACHES - 1):
        try:
            return ask()
        except HostFault as fault:
            if fault.code != LOST:
                raise
        connection.open(patient=True)
    try:
        return ask()
    except HostFault as fault:
        if fault.code == LOST:      # over each of its logins, and all were made: what is small passes
            fault.hint = fault.hint or SIZES.format(address=connection.target.address)
        raise


def _answer(connection: Connection, command: str, done: Completed) -> dict[str, Any]:
    _raise_failed(connection, command, done)
    answer = _object(connection, command, done)
    if done.rc == FENCED:
        raise LockHeld(f"{connection.name}: applier {command}: {answer.get('message')}", code="lock-lost",
                       details=["nothing was done there"], hint="kubewright status")
    return answer


def _raise_failed(connection: Connection, command: str, done: Completed) -> None:
    if done.rc not in (0, FENCED, STALE):
        raise refusal(connection.target, f"applier {command}", done)


def _object(connection: Connection, command: str, done: Completed) -> dict[str, Any]:
    answer = answer_of(done.stdout)
    if answer is None:
        raise only_says(connection.target, f"applier {command}", done)
    return answer


def _busy(host: str, doing: str, step: object, wait: int) -> LockHeld:
    return LockHeld(f"{host}: {doing}: step {step} still runs after {wait} s", code="host-busy",
                    hint=f"on {host}: systemctl status kubewright-step-{step}")


def _store_stream(artifacts: Sequence[tuple[Artifact, Path]], progress: Progress, epoch: int | None,
                  ) -> Iterator[bytes]:
    yield frame({"artifacts": sharing.entries([i for i, _ in artifacts]), "epoch": epoch})
    for _, path in artifacts:
        yield from sharing.bytes_of(path, progress)


def _alive(head: bytes, stop: threading.Event) -> Iterator[bytes]:
    """Yield the request, then a sign of life every second: without it the host ends by itself."""
    yield head
    while not stop.wait(ALIVE):
        yield b"\n"


class SshHost(OneHost):
    """A host over its SSH connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def name(self) -> str:
        return self._connection.name

    @property
    def target(self) -> Target:
        return self._connection.target

    def _call(self, command: str, request: Mapping[str, Any], timeout: float = 60.0) -> dict[str, Any]:
        return call(self._connection, command, request, timeout)

    def observe(self, items: Sequence[Item], *, wait: int = OBSERVE_WAIT,
                owned: Mapping[str, Any] | None = None) -> HostObserved:
        request: dict[str, Any] = {"items": [item.spec() for item in items], "facts": True, "wait": wait}
        if owned is not None:
            request["owned"] = owned
        asked = time.time()
        answer = self._call("observe", request, wait + SLACK)
        answered = time.time()
        if "busy" in answer:
            raise _busy(self.name, "observing", answer["busy"], wait)
        facts = facts_of(answer["facts"])
        off = clock_off(facts.epoch, asked, answered)
        return HostObserved(self.name, facts, items_of(answer["items"]), off, int(answer["epoch"]),
                            Owner.of_answer(answer.get("owner")),
                            tuple(OwnedItem.of_answer(row) for row in answer.get("owned", ())))

    def own(self, items: Sequence[Item], *, step: str, epoch: int | None, leaves: Sequence[Mapping[str, str]] = (),
            ) -> None:
        specs = [{**item.spec(), "want": item.want()} for item in items]
        self._call("own", {"items": specs, "step": step, "epoch": epoch, "leaves": list(leaves)}, OWN_WAIT)

    def forget(self, *, epoch: int | None) -> None:
        answer = self._call("forget", {"epoch": epoch, "wait": OBSERVE_WAIT}, OBSERVE_WAIT + SLACK)
        if "busy" in answer:
            raise _busy(self.name, "removing the last of ours", answer["busy"], OBSERVE_WAIT)

    def lock(self, request: Mapping[str, Any]) -> dict[str, Any]:
        done = _run(self._connection, "lock", request, LOCK_TIMEOUT, again=False)
        return _answer(self._connection, "lock", done)

    def fence(self, epoch: int, *, wait: int = OBSERVE_WAIT, owner: Owner | None = None,
              instead_of: Owner | None = None) -> int:
        whose = {k: asdict(v) for k, v in (("owner", owner), ("instead_of", instead_of)) if v is not None}
        done = _run(self._connection, "fence", {"epoch": epoch, "wait": wait, **whose}, wait + SLACK, again=False)
        _raise_failed(self._connection, "fence", done)
        answer = _object(self._connection, "fence", done)
        if "busy" in answer:
            raise _busy(self.name, "installing an epoch", answer["busy"], wait)
        if answer["status"] == "foreign":
            raise RefusedForSafety(f"{self.name}: taking it for this cluster: {answer['message']}",
                                   details=["nothing was changed there"], code="foreign-host", hint="kubewright check")
        return int(answer["epoch"])

    def store(self, artifacts: Sequence[tuple[Artifact, Path]], progress: Progress | None = None, *,
              epoch: int | None = None) -> list[str]:
        if not artifacts:
            return []
        total = sum(item.size for item, _ in artifacts)
        done = attached(self._connection, lambda: self._connection.stream(
            argv("store"), _store_stream(artifacts, progress or (lambda n: None), epoch),
            timeout=SLACK + total / STORE_RATE))
        return list(_answer(self._connection, "store", done)["stored"])

    def share(self, talk: Talk, *, epoch: int | None = None) -> None:
        cut, last = Lines(), b""

        def lines(data: bytes) -> None:
            nonlocal last
            for line in cut.cut(data):
                if (said := answer_of(line)) is not None:       # else a login script's words
                    last = line
                    talk.told(said)

        done = self._connection.stream(argv("share"), sharing.said(talk, epoch), sink=lines,
                                       timeout=SLACK + talk.seconds)
        _answer(self._connection, "share", replace(done, stdout=last))

    def apply(self, request: Mapping[str, Any]) -> dict[str, Any]:
        timeout = float(request["timeout"]) + SLACK
        done = attached(self._connection, lambda: _run(self._connection, "apply", request, timeout))
        _raise_failed(self._connection, "apply", done)
        return _object(self._connection, "apply", done)

    def inspect(self, question: Mapping[str, Any]) -> Inspection:
        return inspection_of(self._call("inspect", question))

    def examine(self, question: Mapping[str, Any]) -> Examination:
        return examination_of(self._call("examine", question, EXAMINE))

    def os_state(self, *, refresh: bool = False) -> OsState:
        return OsState.of_answer(self._call("os", {"refresh": refresh}, OS_WAIT))

    def probe(self, probes: Sequence[Mapping[str, Any]], deadline: float, *, interval: float = 0.2) -> dict[str, Any]:
        request = {"probes": [dict(p) for p in probes], "deadline": deadline, "interval": interval}
        return self._call("probe", request, deadline + SLACK)

    def sample(self, request: Mapping[str, Any], take: Take, stop: threading.Event, *, duration: float) -> None:
        self._told("sample", _alive(frame({**request, "duration": duration}), stop), take, duration + SLACK)

    def reach(self, request: Mapping[str, Any], says: Iterable[bytes], take: Take, *, seconds: float) -> None:
        self._told("reach", chain((frame({**request, "seconds": seconds}),), says), take, seconds + SLACK)

    def _told(self, command: str, chunks: Iterable[bytes], take: Take, timeout: float) -> None:
        """Run a command that tells line by line what it finds, while `chunks` flow into it."""
        cut = Lines()

        def lines(data: bytes) -> None:
            for line in cut.cut(data):
                take(_object(self._connection, command, Completed(0, line, b"")))

        done = self._connection.stream(argv(command), chunks, timeout=timeout, sink=lines)
        _raise_failed(self._connection, command, done)

    def ask(self, path: str, lines: Sequence[str], *, span: float = 0.0, every: float = 0.25,
            again: Sequence[str] | None = None, until: Sequence[str] = ()) -> list[list[str]]:
        request = {"path": path, "lines": list(lines), "again": list(lines if again is None else again),
                   "for": span, "every": every, "until": list(until)}
        return [list(answers) for answers in self._call("socket", request, span + SLACK)["rounds"]]

    def read(self, paths: Sequence[str]) -> list[bytes]:
        contents = self._call("read", {"paths": list(paths)})["contents"]
        return [base64.b64decode(content) for content in contents]

    def kept(self, steps: str = "") -> list[Kept]:
        return [Kept.of_answer(row) for row in self._call("kept", {"steps": steps})["kept"]]

    def steps(self, run: str) -> dict[str, Any]:
        return self._call("steps", {"run": run})

    def note(self, run: str, acts: Sequence[Mapping[str, Any]]) -> None:
        self._call("note", {"run": run, "acts": [dict(act) for act in acts]})

    def notes(self) -> dict[str, list[dict[str, Any]]]:
        return dict(self._call("notes", {})["runs"])

    def journal(self, request: Mapping[str, Any], take: Take) -> dict[str, Any]:
        cut, answer = Lines(), b""

        def sink(data: bytes) -> None:
            nonlocal answer
            for line in cut.cut(data):
                if LOG_LINE in line:
                    take(json.loads(line))
                else:
                    answer = (answer + line)[:ANSWER]

        done = self._connection.stream(argv("journal"), (frame(dict(request)),), timeout=LOG_WAIT, sink=sink)
        return _answer(self._connection, "journal", replace(done, stdout=answer + cut.rest))

    def require_forwarding(self, port: int) -> None:
        require_forwarding(self._connection, port)

    def tunnel(self, port: int) -> Tunnel:
        return Tunnel(self._connection, "127.0.0.1", port)


class SshHosts(Hosts):
    """The hosts of one run over the connections of a pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @property
    def waiting(self) -> Waiting | None:
        return self._pool.waiting

    @waiting.setter
    def waiting(self, waiting: Waiting | None) -> None:
        self._pool.waiting = waiting

    def on(self, host: str, *, patient: bool = True) -> SshHost:
        return SshHost(self._pool.connection(host, patient=patient))

    def map(self, fn: Callable[[OneHost], T], hosts: Iterable[str], *, patient: bool = True,
            ) -> dict[str, T | KubewrightError]:
        return self._pool.map(lambda connection: fn(SshHost(connection)), hosts, patient=patient)

    def together(self, fn: Callable[[OneHost], T], hosts: Iterable[str]) -> dict[str, T | KubewrightError]:
        names = list(hosts)
        return self._pool.map(lambda connection: fn(SshHost(connection)), names, workers=len(names))

    def also_reach(self, targets: Mapping[str, Target]) -> None:
        self._pool.targets = {**targets, **self._pool.targets}

    def standing(self, hosts: Iterable[str]) -> list[str]:
        return self._pool.standing(hosts)

    def close(self) -> None:
        self._pool.close()
