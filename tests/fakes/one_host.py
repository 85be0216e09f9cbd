"""One of the hosts in memory as a run asks it; what it answers is said by all of them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioner.model.desired import Artifact, Item
from provisioner.model.examination import Examination
from provisioner.model.file_system import MIB, FileSystem
from provisioner.model.generations import Kept
from provisioner.model.inspection import Inspection
from provisioner.model.observed import HostObserved, Owner
from provisioner.model.os_state import OsState
from provisioner.transport.hosts import OBSERVE_WAIT, OneHost, Take, Way
from provisioner.transport.sharing import Progress, Talk
from provisioner.transport.target import Target

if TYPE_CHECKING:
    from tests.fakes.hosts import FakeHosts

ROOM = Inspection(disks=(FileSystem(("/opt/kubewright", "/var/lib"), 100_000 * MIB, 50_000 * MIB, 50_000 * MIB),))


class FakeOne(OneHost):
    """One of the fake hosts, as a run asks it; what it answers is said by FakeHosts."""

    def __init__(self, hosts: FakeHosts, name: str) -> None:
        self._hosts, self._name = hosts, name

    @property
    def name(self) -> str:
        return self._name

    @property
    def target(self) -> Target:
        return Target(self._name, self._hosts.address(self._name), 22, "admin", "sudo", None, Path("known_hosts"))

    def observe(self, items: Sequence[Item], *, wait: int = OBSERVE_WAIT,
                owned: Mapping[str, Any] | None = None) -> HostObserved:
        seen, host = self._hosts.seen(self._name, items), self._hosts.hosts[self._name]
        return seen if owned is None else replace(seen, owned=host.owned_beside(items, owned["beside"]))

    def own(self, items: Sequence[Item], *, step: str, epoch: int | None, leaves: Sequence[Mapping[str, str]] = (),
            ) -> None:
        host = self._hosts.hosts[self._name]
        for item in items:
            if host.states.get((item.kind, item.path)) != item.want() and item.kind != "module":
                host.own((item.kind, item.path), str(item.want()))

    def forget(self, *, epoch: int | None) -> None:
        self._hosts.forget(self)

    def lock(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return self._hosts.lock_record(self, request)

    def fence(self, epoch: int, *, wait: int = OBSERVE_WAIT, owner: Owner | None = None,
              instead_of: Owner | None = None) -> int:
        return self._hosts.fence(self, epoch, owner=owner, instead_of=instead_of)

    def store(self, artifacts: Sequence[tuple[Artifact, Path]], progress: Progress | None = None, *,
              epoch: int | None = None) -> list[str]:
        return self._hosts.store(self, artifacts, progress)

    def share(self, talk: Talk, *, epoch: int | None = None) -> None:
        self._hosts.share(self, talk)

    def apply(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return self._hosts.hand(self, request)

    def inspect(self, question: Mapping[str, Any]) -> Inspection:
        known = self._hosts.hosts[self._name].owned
        return self._hosts.inspections.get(self._name) or replace(ROOM, prepared=bool(known))

    def examine(self, question: Mapping[str, Any]) -> Examination:
        return self._hosts.examinations.get(self._name) or self._hosts.examined(self._name, question)

    def os_state(self, *, refresh: bool = False) -> OsState:
        return self._hosts.os_state(self, refresh=refresh)

    def probe(self, probes: Sequence[Mapping[str, Any]], deadline: float, *, interval: float = 0.2) -> dict[str, Any]:
        return self._hosts.probe(self, probes, deadline)

    def sample(self, request: Mapping[str, Any], take: Take, stop: threading.Event, *, duration: float) -> None:
        raise AssertionError("what samples is a fake of its own")

    def reach(self, request: Mapping[str, Any], says: Iterable[bytes], take: Take, *, seconds: float) -> None:
        self._hosts.network.reach(self._name, request, says, take)

    def ask(self, path: str, lines: Sequence[str], *, span: float = 0.0, every: float = 0.25,
            again: Sequence[str] | None = None, until: Sequence[str] = ()) -> list[list[str]]:
        return self._hosts.ask(self, path, lines, span=span, again=again, until=until)

    def read(self, paths: Sequence[str]) -> list[bytes]:
        return [self._hosts.content(self, path) for path in paths]

    def kept(self, steps: str = "") -> list[Kept]:
        return self._hosts.kept(self, steps)

    def steps(self, run: str) -> dict[str, Any]:
        return self._hosts.steps(self, run)

    def note(self, run: str, acts: Sequence[Mapping[str, Any]]) -> None:
        self._hosts.note(self, run, acts)

    def notes(self) -> dict[str, list[dict[str, Any]]]:
        return self._hosts.notes(self)

    def journal(self, request: Mapping[str, Any], take: Take) -> dict[str, Any]:
        return self._hosts.journal(self, request, take)

    def require_forwarding(self, port: int) -> None:
        self._hosts.forward(self, port)

    def tunnel(self, port: int) -> AbstractContextManager[Way]:
        raise AssertionError("APIs in memory need no way")
