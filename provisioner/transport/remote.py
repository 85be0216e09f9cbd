"""Applier commands over one SSH channel: requests out, JSON back; nothing stays on the host."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

from provisioner.applier.package import answer_of, argv, build_zipapp, frame
from provisioner.errors import KubewrightError, LockHeld, RefusedForSafety
from provisioner.model.desired import Artifact, Item
from provisioner.model.facts import Facts, Interface
from provisioner.model.generations import Kept
from provisioner.model.inspection import Disk, Inspection, Listener, Packages
from provisioner.model.observed import HostObserved, ObservedItem, Owner
from provisioner.transport.connection import Connection
from provisioner.transport.faults import LOST, HostFault
from provisioner.transport.pool import Pool, raise_all
from provisioner.transport.refusals import only_says, refusal
from provisioner.transport.streams import ANSWER, Completed, Lines

CHUNK = 1 << 20
SLACK = 30.0                    # seconds beyond the host's own deadline, for login and start of Python
OBSERVE_WAIT = 120
STALE = 16                      # its exit status where a host is not what the plan saw
FENCED = 14                     # the applier's exit status for a request of an older epoch
LOCK_TIMEOUT = 15.0             # seconds for a look at the lock's record; a host without an answer does not vote
ALIVE = 1.0                     # seconds between two signs of life of ours to a host that samples
STORE_RATE = 2_000_000          # bytes a second: slower than this is a broken line, not a slow one
LOG_LINE = b'"__REALTIME_TIMESTAMP"'   # what every line of journald's JSON has, and no answer of ours
LOG_WAIT = 7 * 86400.0          # seconds after which a log that is followed ends
ATTACHES = 3                    # times that a command is asked whose connection is lost
T = TypeVar("T")
Progress = Callable[[int], None]
"""Called with the number of bytes just sent."""


def call(
    connection: Connection, command: str, request: Mapping[str, Any], timeout: float = 60.0,
) -> dict[str, Any]:
    """Run one applier command and return its answer; faults say which host and what it printed.

    All of these may be asked twice, so where the connection is lost meanwhile, they are.
    """
    done = attached(connection, lambda: connection.run(argv(command), frame(dict(request)), timeout=timeout))
    return _answer(connection, command, done)


def attached(connection: Connection, ask: Callable[[], T]) -> T:
    """Return what `ask` returns; when the connection was lost, it is asked again on a new one, a few times."""
    for _ in range(ATTACHES - 1):
        try:
            return ask()
        except HostFault as fault:
            if fault.code != LOST:
                raise
        connection.open(patient=True)
    return ask()


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


def observe(pool: Pool, items_by_host: Mapping[str, Sequence[Item]], *, wait: int = OBSERVE_WAIT,
            ) -> dict[str, HostObserved]:
    """Observe all hosts in parallel; one error holds every host that did not answer."""
    return raise_all(observe_each(pool, items_by_host, wait=wait))


def observe_each(pool: Pool, items_by_host: Mapping[str, Sequence[Item]], *, wait: int = OBSERVE_WAIT,
                 ) -> dict[str, HostObserved | KubewrightError]:
    """Observe all hosts in parallel and keep every host's outcome."""
    return pool.map(lambda c: observe_host(c, items_by_host[c.name], wait=wait), items_by_host)


def observe_host(connection: Connection, items: Sequence[Item], *, wait: int = OBSERVE_WAIT) -> HostObserved:
    """Return facts and states of one host; a step that still runs there after `wait` seconds is LockHeld."""
    request = {"items": [item.spec() for item in items], "facts": True, "wait": wait}
    asked = time.time()
    answer = call(connection, "observe", request, wait + SLACK)
    answered = time.time()
    if "busy" in answer:
        raise _busy(connection.name, "observing", answer["busy"], wait)
    facts = facts_of(answer["facts"])
    off = clock_off(facts.epoch, asked, answered)
    return HostObserved(connection.name, facts, items_of(answer["items"]), off, int(answer["epoch"]),
                        Owner.of_answer(answer.get("owner")))


def clock_off(epoch: float, asked: float, answered: float) -> float:
    """Return how far a clock that said `epoch` somewhere between two moments of ours is certainly off."""
    return max(0.0, epoch - answered) or min(0.0, epoch - asked)


def facts_of(values: Mapping[str, Any]) -> Facts:
    """Make Facts of the applier's answer."""
    known = {name: values[name] for name in Facts.__dataclass_fields__ if name in values}
    known["interfaces"] = tuple(Interface(i["name"], tuple(i["addresses"]), int(i["mtu"]), str(i.get("mac", "")))
                                for i in values.get("interfaces", ()))
    return Facts(**known)


def items_of(values: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], ObservedItem]:
    """Make observed items of the applier's answer, by identity."""
    return {(i["kind"], i["path"]): ObservedItem(i["kind"], i["path"], i["state"], i.get("extra") or {})
            for i in values}


def lock(connection: Connection, request: Mapping[str, Any]) -> dict[str, Any]:
    """Read, take, renew or release the lock's record on one host; the answer is the applier's (`lock`).

    A lost connection is not waited for: the others' answers may be enough, and they age.
    """
    done = connection.run(argv("lock"), frame(dict(request)), timeout=LOCK_TIMEOUT)
    return _answer(connection, "lock", done)


def fence(connection: Connection, epoch: int, *, wait: int = OBSERVE_WAIT, owner: Owner | None = None,
          instead_of: Owner | None = None) -> int:
    """Let the host refuse epochs before this one, once its running step has ended; return the epoch it now has.

    It is higher than asked for where a newer one is installed. With `owner`, it is recorded as that cluster's, in place
    of what was seen there; RefusedForSafety where it is another's. A step that still runs after `wait` s is LockHeld.
    """
    whose = {k: asdict(v) for k, v in (("owner", owner), ("instead_of", instead_of)) if v is not None}
    done = connection.run(argv("fence"), frame({"epoch": epoch, "wait": wait, **whose}), timeout=wait + SLACK)
    _raise_failed(connection, "fence", done)
    answer = _object(connection, "fence", done)
    if "busy" in answer:
        raise _busy(connection.name, "installing an epoch", answer["busy"], wait)
    if answer["status"] == "foreign":
        raise RefusedForSafety(f"{connection.name}: taking it for this cluster: {answer['message']}",
                               details=["nothing was changed there"], code="foreign-host", hint="kubewright check")
    return int(answer["epoch"])


def _busy(host: str, doing: str, step: object, wait: int) -> LockHeld:
    return LockHeld(f"{host}: {doing}: step {step} still runs after {wait} s", code="host-busy",
                    hint=f"on {host}: systemctl status kubewright-step-{step}")


def store(
    connection: Connection, artifacts: Sequence[tuple[Artifact, Path]], progress: Progress | None = None,
    *, epoch: int | None = None,
) -> list[str]:
    """Stream files from disk into the host's store; the host checks every digest before it names a file."""
    if not artifacts:
        return []
    total = sum(item.size for item, _ in artifacts)
    done = attached(connection, lambda: connection.stream(
        argv("store"), _store_stream(artifacts, progress or (lambda n: None), epoch),
        timeout=SLACK + total / STORE_RATE))
    return list(_answer(connection, "store", done)["stored"])


def _store_stream(artifacts: Sequence[tuple[Artifact, Path]], progress: Progress, epoch: int | None,
                  ) -> Iterator[bytes]:
    zipapp = build_zipapp()
    head = {"artifacts": [
        {"path": i.path, "sha256": i.sha256, "size": i.size, "mode": i.mode} for i, _ in artifacts],
            "epoch": epoch}
    yield b"%d\n" % len(zipapp) + zipapp + json.dumps(head).encode() + b"\n"
    for _, path in artifacts:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk
                progress(len(chunk))


def inspect(connection: Connection, question: Mapping[str, Any]) -> Inspection:
    """Ask a host what preflight wants to know before it is changed.

    The question names `ports` (who listens?), `paths` (which exist?), `directories` (how much room?), `pods` (the Pods'
    ranges: does anything drop what is forwarded for them?), `own` (which are links?), `packages` (can they be had?),
    `files` (whose are they?), `sysctls` (what sets them at boot?), `vip` (interface and address: who has it?), and
    `let_in` with `peers` (what of this do input chains keep out?).
    """
    return inspection_of(call(connection, "inspect", question))


def inspection_of(answer: Mapping[str, Any]) -> Inspection:
    """Make an Inspection of the applier's answer."""
    return Inspection(
        prepared=bool(answer["prepared"]),
        listeners=tuple(Listener(x["port"], x["address"], x["process"], x["pid"], x["unit"])
                        for x in answer["listeners"]),
        there=frozenset(answer["there"]),
        disks=tuple(Disk(tuple(d["paths"]), d["free_mib"], d["read_only"], d["no_exec"]) for d in answer["disks"]),
        swap=str(answer["swap"]), forward_drops=tuple(answer["forward_drops"]), product=str(answer["product"]),
        services_of_others=tuple(answer["services_of_others"]),
        shut_out={chain: tuple((str(p), int(n)) for p, n in packets) for chain, packets in answer["shut_out"].items()},
        links=dict(answer["links"]), packages=_packages_of(answer["packages"]),
        others=dict(answer["others"]),
        sysctls=tuple((file, key, value) for file, key, value in answer["sysctls"]),
        holders=None if answer["holders"] is None else tuple(answer["holders"]))


def _packages_of(answer: Mapping[str, Any]) -> Packages:
    return Packages(tuple(answer["missing"]), bool(answer["listed"]), dict(answer["sites"]),
                    tuple(answer["removes"]))


def probe(connection: Connection, probes: Sequence[Mapping[str, Any]], deadline: float, *, interval: float = 0.2,
          ) -> dict[str, Any]:
    """Let the host poll until all probes hold; the answer has `ok`, `seconds` and a reason for each probe."""
    request = {"probes": [dict(p) for p in probes], "deadline": deadline, "interval": interval}
    return call(connection, "probe", request, deadline + SLACK)


def sample(connection: Connection, request: Mapping[str, Any], take: Callable[[dict[str, Any]], None],
           stop: threading.Event, *, duration: float) -> None:
    """Let the host sample for `duration` seconds or until `stop`; `take` gets each line of results as it comes.

    Returns when the host has told the last one; a lost connection is a HostFault.
    """
    cut = Lines()

    def lines(data: bytes) -> None:
        for line in cut.cut(data):
            take(_object(connection, "sample", Completed(0, line, b"")))

    done = connection.stream(argv("sample"), _alive(frame({**request, "duration": duration}), stop),
                             timeout=duration + SLACK, sink=lines)
    _raise_failed(connection, "sample", done)


def _alive(head: bytes, stop: threading.Event) -> Iterator[bytes]:
    """Yield the request, then a sign of life every second: without it the host ends by itself."""
    yield head
    while not stop.wait(ALIVE):
        yield b"\n"


def ask(connection: Connection, path: str, lines: Sequence[str], *, span: float = 0.0, every: float = 0.25,
        ) -> list[list[str]]:
    """Ask a program at a unix socket on the host, each line once or again and again for `span` seconds.

    Returns the answers by round, each in the order of the lines; first and last round are at least `span` s apart.
    """
    request = {"path": path, "lines": list(lines), "for": span, "every": every}
    return [list(answers) for answers in call(connection, "socket", request, span + SLACK)["rounds"]]


def read(connection: Connection, paths: Sequence[str]) -> list[bytes]:
    """Return the bytes of files on the host, in this order; a fault where one is not there."""
    return [base64.b64decode(content) for content in call(connection, "read", {"paths": list(paths)})["contents"]]


def kept(connection: Connection, steps: str = "") -> list[Kept]:
    """Return what the host keeps of every path from before its last change, by steps whose id begins with `steps`."""
    return [Kept.of_answer(row) for row in call(connection, "kept", {"steps": steps})["kept"]]


def steps(connection: Connection, run: str) -> dict[str, Any]:
    """Return the results that the host keeps of a run's `steps`, and the ids of those that are `running`."""
    return call(connection, "steps", {"run": run})


def note(connection: Connection, run: str, acts: Sequence[Mapping[str, Any]]) -> None:
    """Let the host remember what a run tells about itself."""
    call(connection, "note", {"run": run, "acts": [dict(act) for act in acts]})


def notes(connection: Connection) -> dict[str, list[dict[str, Any]]]:
    """Return what runs noted on the host, by their ids."""
    return dict(call(connection, "notes", {})["runs"])


def journal(
    connection: Connection, request: Mapping[str, Any], take: Callable[[dict[str, Any]], object],
) -> dict[str, Any]:
    """Give every line of a unit's journal to `take` as it comes, and return the host's answer at the end.

    The host ends its half when our channel closes, so an interrupt here leaves nothing running there.
    """
    cut, answer = Lines(), b""

    def sink(data: bytes) -> None:
        nonlocal answer
        for line in cut.cut(data):
            if LOG_LINE in line:
                take(json.loads(line))
            else:
                answer = (answer + line)[:ANSWER]

    done = connection.stream(argv("journal"), (frame(dict(request)),), timeout=LOG_WAIT, sink=sink)
    return _answer(connection, "journal", replace(done, stdout=answer + cut.rest))
