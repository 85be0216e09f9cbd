"""Etcd's membership in memory: learners are added, start with their host's unit, and are promoted when in sync."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import pytest

from provisioner.model.etcd import MemberSeen
from provisioner.operate import etcd, etcd_membership
from provisioner.operate.etcd import EtcdFault


@dataclass
class Joins:
    """The members, once anybody has changed who is one; `says` are what the next requests are answered instead.

    An answer is (verb, words, whether it was done all the same).
    """

    members: list[MemberSeen] | None = None
    says: list[tuple[str, str, bool]] = field(default_factory=list)
    log: list[tuple[str, str]] = field(default_factory=list)
    never_starts: set[str] = field(default_factory=set)
    hosts: Any = field(default=None, repr=False)

    def install(self, hosts: Any, patch: pytest.MonkeyPatch) -> None:
        """Answer in the place of the real requests, for these hosts."""
        self.hosts = hosts
        for name in ("listed", "add_learner", "promote", "remove"):
            patch.setattr(etcd_membership, name, getattr(self, name))
        patch.setattr(etcd, "hears_leader", lambda access: bool(hosts.etcd_status(access).leader_id))

    @contextmanager
    def killed_at(self, verb: str, *, before: bool, nth: int = 1) -> Iterator[None]:
        """Let the run inside the block be killed at its nth such request, before or after it was made.

        The dead run's lock is over then.
        """
        real, asked = getattr(etcd_membership, verb), count(1)

        def dies(*arguments: Any, **rest: Any) -> Any:
            is_last = next(asked) == nth
            if is_last and before:
                raise SystemExit(9)
            answer = real(*arguments, **rest)
            if is_last:
                raise SystemExit(9)
            return answer

        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit):
            patch.setattr(etcd_membership, verb, dies)
            yield
        self.hosts.now += 3600

    def url(self, host: str) -> str:
        return f"https://{self.hosts.address(host)}:2380"

    def now(self, running: Sequence[str]) -> tuple[MemberSeen, ...]:
        """Return the members: those that run have told their names. Nothing while nobody changed any."""
        if self.members is None:
            return ()
        names = {self.url(host): host for host in running if host not in self.never_starts}
        self.members = [replace(m, name=m.name or next((names[u] for u in m.peer_urls if u in names), ""))
                        for m in self.members]
        return tuple(self.members)

    def listed(self, access: Any, *, timeout: float = 3.0) -> tuple[MemberSeen, ...]:
        return tuple(self.hosts.etcd_status(access).members)

    def add_learner(self, access: Any, peer_url: str, *, timeout: float = 3.0) -> int:
        host = next(h for h in self.hosts.hosts if self.url(h) == peer_url)
        number = 1 + list(self.hosts.hosts).index(host)
        self._do("add", host, access, lambda members: [*members, MemberSeen(number, "", (peer_url,), True)])
        return number

    def promote(self, access: Any, member: int, *, timeout: float = 3.0) -> None:
        known = next(m for m in self.listed(access) if m.id == member)
        assert known.name, "promoted before it was started"
        if not known.is_learner:
            raise EtcdFault("etcd: promoting: can only promote a learner member")
        self._do("promote", known.name, access, lambda members: [
            replace(m, is_learner=False) if m.id == member else m for m in members])

    def remove(self, access: Any, member: int, *, timeout: float = 3.0) -> None:
        self._do("remove", str(member), access, lambda members: [m for m in members if m.id != member])

    def _do(self, verb: str, host: str, access: Any, act: Callable[[list[MemberSeen]], list[MemberSeen]]) -> None:
        answer = next((a for a in self.says if a[0] == verb), None)
        if answer:
            self.says.remove(answer)
        self.log.append((verb, host))
        if answer is None or answer[2]:
            self.members = act(list(self.listed(access)))
        if answer:
            raise EtcdFault(f"etcd: {answer[1]}")
