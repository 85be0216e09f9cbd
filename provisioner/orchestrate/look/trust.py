"""Host keys: what every machine shows now against what is pinned, and the pinning once a person has agreed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from provisioner.errors import KubewrightError
from provisioner.parallel import Waiting, ask_all
from provisioner.transport import host_certificates, trust
from provisioner.transport.target import Hop, Target
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
    by: str = ""                    # who says so, or something else: a known_hosts file, or an authority
    doubt: str = ""                 # why no authority does, where one was named

    def to_json(self) -> dict[str, object]:
        """Return what a program needs to compare fingerprints itself."""
        return {"host": self.host, "address": self.place, "type": self.key.type, "fingerprint": self.key.fingerprint,
                "state": self.state, "pinned": [k.fingerprint for k in self.before],
                "vouched_by": self.by if self.by and self.state == "new" else None}


def judge(shown: HostKey, pinned: Sequence[HostKey]) -> State:
    """Say whether the key is pinned; a key of another type than the pinned ones is a changed one too.

    Otherwise whoever stands in between would only have to show a type that we have never seen.
    """
    if not pinned:
        return "new"
    return "pinned" if any(k.line == shown.line for k in pinned) else "changed"


def jump_hosts(targets: Mapping[str, Target], waiting: Waiting | None = None, also: Path | None = None,
               ) -> list[Shown | KubewrightError]:
    """Return the keys of the jump hosts, each once; theirs must be pinned before anything behind them is asked.

    `also` is a known_hosts file of somebody who knows the machines already.
    """
    first: dict[str, Target] = {}
    for target in targets.values():
        if target.jump is not None:
            first.setdefault(target.jump.known_hosts_name, target)
    return _all(first.values(), lambda target: _jump(target, also), waiting)


def machines(targets: Mapping[str, Target], waiting: Waiting | None = None, also: Path | None = None,
             ) -> list[Shown | KubewrightError]:
    """Ask all machines at once which key they show; nothing of ours is sent. Every machine's outcome is kept."""
    return _all(targets.values(), lambda target: _machine(target, also), waiting)


def pin(file: Path, keys: Iterable[Shown]) -> None:
    """Pin what is not pinned; what was pinned for the same places goes."""
    trust.pin(file, [shown.key for shown in keys if shown.state != "pinned"], replace=True)


def _machine(target: Target, also: Path | None) -> Shown:
    return _judged(target.name, target.hop, trust.fetch(target, also), trust.pinned_for(target), also)


def _jump(target: Target, also: Path | None) -> Shown:
    key = trust.fetch_jump(target, also)
    assert key is not None and target.jump is not None  # noqa: S101 - only targets with a jump host come here
    return _judged(f"jump host of {target.name}", target.jump, key, trust.pinned_jump(target), also)


def _judged(host: str, hop: Hop, key: HostKey, before: Sequence[HostKey], also: Path | None) -> Shown:
    """Judge a key by what is pinned, and where nothing is, by what another file says of the place."""
    told = trust.said_in(also, hop.known_hosts_name) if also is not None and not before else ()
    if told and judge(key, told) == "changed":
        return Shown(host, str(hop.place), key, "changed", tuple(told), str(also))
    doubt = host_certificates.doubt(key.certificate, hop.address, key.authorities) if key.authorities else ""
    by = str(also) if told else "its certificate" if key.authorities and not doubt else ""
    return Shown(host, str(hop.place), key, judge(key, before), tuple(before), by, doubt)


def _all(targets: Iterable[Target], ask: Callable[[Target], Shown], waiting: Waiting | None,
         ) -> list[Shown | KubewrightError]:
    named = {target.name: target for target in targets}

    def one(target: Target) -> Shown | KubewrightError:
        try:
            return ask(target)
        except KubewrightError as fault:
            return fault

    return list(ask_all(lambda name: one(named[name]), named, workers=WORKERS, name="trust", waiting=waiting).values())
