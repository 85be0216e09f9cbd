"""One thing that may be wrong with a machine, as data: what it is in words, how it is made, how it is undone.

Scripts are constants for the node's /bin/sh. What differs from node to node reaches them as environment variables:
NAME, ADDRESS, VIP, GATEWAY, PREFIX, VRID; PEER, PEER_ADDRESS, PEER_KEY, PEER_MACHINE_ID of another host, one of the
same roles where there is one; LINK, the node's port on the bridge; UNIT, a name for a transient unit; LISTEN, ANSWER
and STRANGER, programs for `python3 -c`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PASTED = frozenset((
    "small-mtu", "no-forwarding", "few-sessions", "few-logins", "hostname-twice", "old-service-rules", "vip-on-worker",
    "localhost-astray", "hosts-peer-wrong", "hosts-no-localhost", "local-ports", "store-read-only", "store-noexec",
    "etcd-disk-read-only", "dpkg-interrupted", "sysctl-wins", "locale-absent", "etcd-ports", "api-port", "vip-port",
    "kubelet-port", "left-chains", "left-device", "left-mounts", "foreign-config", "directory-linked", "unit-masked",
    "unit-foreign",
))
At = Literal["any", "control-plane", "node", "worker"]


@dataclass(frozen=True)
class Defect:
    """One row of the table.

    `files` are the paths that `do` makes or changes: what was there is kept before it, and put back by the framework.
    `undo` ends what is no file, also after a `do` that was killed half-way; `after` runs once the files are back.
    `check` is the check that names it, `place` what it occupies: two of one place do not go together on one host.
    `alone` says why it goes together with no other on its host. `outside` has the scripts run in the lab's network, as
    a switch or another machine would act, instead of in the node. `elsewhere` says that others see it, and tell of it.
    `also` are other checks that rightly tell of it.
    """

    name: str
    says: str
    check: str
    do: str
    undo: str = ""
    after: str = ""
    files: tuple[str, ...] = ()
    at: At = "any"
    place: str = ""
    alone: str = ""
    outside: bool = False
    elsewhere: bool = False
    also: tuple[str, ...] = ()

    @property
    def pasted(self) -> bool:
        """Say whether the cure is a command for the host itself.

        Others ask for a person's judgement, or are for another place: the inventory, another machine, the way in.
        """
        return self.name in PASTED

    @property
    def unit(self) -> str:
        """Return the name of the transient unit that a script of this defect may start."""
        return f"lab-{self.name}"


UNIT_ENDS = 'for verb in stop reset-failed; do systemctl "$verb" "$UNIT.service" 2>/dev/null || true; done'
"""Ends the unit that a script started; one that is gone already is fine."""


def writes(path: str, text: str, then: str = "") -> str:
    """Return a script that writes a file, with its directory, and goes on with `then`."""
    return f"mkdir -p {path.rpartition('/')[0]}\ncat > {path} <<'END'\n{text}\nEND\n{then}"
