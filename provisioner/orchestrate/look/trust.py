"""Host keys: what every machine shows now against what is pinned, and the pinning once a person has agreed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from provisioner.errors import KubewrightError
from provisioner.parallel import Waiting, ask_all
from provisioner.transport import trust
from provisioner.transport.target import Target
from provisioner.transport.trust import HostKey

WORKERS = 16                    # behind one jump host each costs a login there; sshd's MaxStartups is 10:30:100
State = Literal["pinned", "new", "changed"]


@dataclass(frozen=True)
class Shown:
    """The key that one place shows; `host` is the machine, or `jump host` and what lies behind it."""

    host: str
    place: str
    key: HostKey
    state: State
    before: tuple[HostKey, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Return what a program needs to compare fingerprints itself."""
        return {"host": self.host, "address": self.place, "type": self.key.type, "fingerprint": self.key.fingerprint,
                "state": self.state, "pinned": [k.fingerprint for k in self.before]}


def judge(shown: HostKey, pinned: Sequence[HostKey]) -> State:
    """Say whether the key is pinned; a key of another type than the pinned ones is a changed one too.

    Otherwise whoever stands in between would only have to show a type that we have never seen.
    """
    if not pinned:
        return "new"
    return "pinned" if any(k.line == shown.line for k in pinned) else "changed"


def jump_hosts(targets: Mapping[str, Target], waiting: Waiting | None = None) -> list[Shown | KubewrightError]:
    """Return the keys of the jump hosts, each once; theirs must be pinned before anything behind them is asked."""
    first: dict[str, Target] = {}
    for target in targets.values():
        if target.jump is not None:
            first.setdefault(target.jump.known_hosts_name, target)
    return _all(first.values(), _jump, waiting)


def machines(targets: Mapping[str, Target], waiting: Waiting | None = None) -> list[Shown | KubewrightError]:
    """Ask all machines at once which key they show; nothing of ours is sent. Every machine's outcome is kept."""
    return _all(targets.values(), _machine, waiting)


def pin(file: Path, keys: Iterable[Shown]) -> None:
    """Pin what is not pinned; what was pinned for the same places goes."""
    trust.pin(file, [shown.key for shown in keys if shown.state != "pinned"], replace=True)


def _machine(target: Target) -> Shown:
    key, before = trust.fetch(target), tuple(trust.pinned_for(target))
    return Shown(target.name, str(target.hop.place), key, judge(key, before), before)


def _jump(target: Target) -> Shown:
    key, before = trust.fetch_jump(target), tuple(trust.pinned_jump(target))
    assert key is not None and target.jump is not None  # noqa: S101 - only targets with a jump host come here
    return Shown(f"jump host of {target.name}", str(target.jump.place), key, judge(key, before), before)


def _all(targets: Iterable[Target], ask: Callable[[Target], Shown], waiting: Waiting | None,
         ) -> list[Shown | KubewrightError]:
    named = {target.name: target for target in targets}

    def one(target: Target) -> Shown | KubewrightError:
        try:
            return ask(target)
        except KubewrightError as fault:
            return fault

    return list(ask_all(lambda name: one(named[name]), named, workers=WORKERS, name="trust", waiting=waiting).values())
