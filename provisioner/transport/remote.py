"""Applier commands over one SSH channel: requests out, JSON back; nothing stays on the host."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from provisioner.applier.package import argv, build_zipapp, frame
from provisioner.errors import KubewrightError, LockHeld, Unreachable
from provisioner.model.desired import Artifact, Item
from provisioner.model.facts import Facts, Interface
from provisioner.model.observed import HostObserved, ObservedItem
from provisioner.transport.connection import Completed, Connection
from provisioner.transport.faults import HostFault
from provisioner.transport.pool import Pool, raise_all

CHUNK = 1 << 20
SLACK = 30.0                    # seconds beyond the host's own deadline, for login and start of Python
OBSERVE_WAIT = 120
STORE_RATE = 2_000_000          # bytes a second: slower than this is a broken line, not a slow one
Progress = Callable[[int], None]
"""Called with the number of bytes just sent."""


def call(
    connection: Connection, command: str, request: Mapping[str, Any], timeout: float = 60.0,
) -> dict[str, Any]:
    """Run one applier command and return its answer; faults say which host and what it printed."""
    done = connection.run(argv(command), frame(dict(request)), timeout=timeout)
    return _answer(connection, command, done)


def _answer(connection: Connection, command: str, done: Completed) -> dict[str, Any]:
    host, doing = connection.name, f"applier {command}"
    text = done.stderr.decode(errors="replace").strip()
    if done.rc not in (0, 16):
        if b"python3" in done.stderr and (b"not found" in done.stderr or b"No such file" in done.stderr):
            raise HostFault(host, doing, "there is no python3 on the host", code="no-python",
                            hint=f"on {host}: apt-get install -y python3-minimal")
        raise KubewrightError(f"{host}: {doing}: exit {done.rc}: {text.splitlines()[-1] if text else 'no words'}",
                              details=text.splitlines()[-20:-1], code="applier-failed")
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        start = done.stdout[:120].decode(errors="replace").strip()
        raise Unreachable(f"{host}: {doing}: the answer is not JSON: {start!r}", code="not-json",
                          hint=f"does a login script of {connection.target.user} print text on {host}?") from None
    if not isinstance(answer, dict):
        raise KubewrightError(f"{host}: {doing}: the answer is not an object")
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
    answer = call(connection, "observe", request, wait + SLACK)
    if "busy" in answer:
        raise LockHeld(f"{connection.name}: observing: step {answer['busy']} still runs after {wait} s",
                       code="host-busy", hint="wait for it, or see `kubewright runs list`")
    return HostObserved(connection.name, facts_of(answer["facts"]), items_of(answer["items"]))


def facts_of(values: Mapping[str, Any]) -> Facts:
    """Make Facts of the applier's answer."""
    known = {name: values[name] for name in Facts.__dataclass_fields__ if name in values}
    known["interfaces"] = tuple(
        Interface(i["name"], tuple(i["addresses"]), int(i["mtu"])) for i in values.get("interfaces", ()))
    return Facts(**known)


def items_of(values: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], ObservedItem]:
    """Make observed items of the applier's answer, by identity."""
    return {(i["kind"], i["path"]): ObservedItem(i["kind"], i["path"], i["state"], i.get("extra") or {})
            for i in values}


def store(
    connection: Connection, artifacts: Sequence[tuple[Artifact, Path]], progress: Progress | None = None,
) -> list[str]:
    """Stream files from disk into the host's store; the host checks every digest before it names a file."""
    if not artifacts:
        return []
    total = sum(item.size for item, _ in artifacts)
    done = connection.stream(
        argv("store"), _store_stream(artifacts, progress or (lambda n: None)), timeout=SLACK + total / STORE_RATE)
    return list(_answer(connection, "store", done)["stored"])


def _store_stream(artifacts: Sequence[tuple[Artifact, Path]], progress: Progress) -> Iterator[bytes]:
    zipapp = build_zipapp()
    head = {"artifacts": [
        {"path": i.path, "sha256": i.sha256, "size": i.size, "mode": i.mode} for i, _ in artifacts]}
    yield b"%d\n" % len(zipapp) + zipapp + json.dumps(head).encode() + b"\n"
    for _, path in artifacts:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk
                progress(len(chunk))


def probe(connection: Connection, probes: Sequence[Mapping[str, Any]], deadline: float, *, interval: float = 0.2,
          ) -> dict[str, Any]:
    """Let the host poll until all probes hold; the answer has `ok`, `seconds` and a reason for each probe."""
    request = {"probes": [dict(p) for p in probes], "deadline": deadline, "interval": interval}
    return call(connection, "probe", request, deadline + SLACK)


def read(connection: Connection, path: str) -> bytes:
    """Return the bytes of one file on the host."""
    return base64.b64decode(call(connection, "read", {"path": path})["content"])
