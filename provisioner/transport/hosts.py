"""The seam to the hosts: what can be asked of one, and of many at once. `remote.py` asks over SSH, tests in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from provisioner.errors import KubewrightError
from provisioner.model.desired import Artifact, Item
from provisioner.model.examination import Examination
from provisioner.model.generations import Kept
from provisioner.model.inspection import Inspection
from provisioner.model.observed import HostObserved, Owner
from provisioner.model.os_state import OsState
from provisioner.parallel import Waiting
from provisioner.transport.pool import raise_all
from provisioner.transport.sharing import Progress, Talk
from provisioner.transport.target import Target

T = TypeVar("T")
OBSERVE_WAIT = 120              # seconds that a host waits for a step that runs there before it answers
LOCK_TIMEOUT = 15.0             # seconds for a look at the lock's record; a host without an answer does not vote
Take = Callable[[dict[str, Any]], object]
"""Called with each line of a long answer as it comes."""


class Way(Protocol):
    """A local port that ends at a host's side."""

    @property
    def address(self) -> tuple[str, int]:
        """Return the local end, for clients."""

    def refusal(self) -> KubewrightError | None:
        """Return why the host did not let the last client through, None where it did or nobody tried."""


class OneHost(Protocol):
    """One host: what its applier answers, and the ways through it. Faults say which host and what it said."""

    @property
    def name(self) -> str:
        """Return the host's name in the inventory."""

    @property
    def target(self) -> Target:
        """Return where and as whom one logs in there."""

    def observe(self, items: Sequence[Item], *, wait: int = OBSERVE_WAIT,
                owned: Mapping[str, Any] | None = None) -> HostObserved:
        """Return facts and states; a step that still runs there after `wait` seconds is LockHeld.

        With `owned`, also what else on the host is ours (docs/reference/applier-protocol.md).
        """

    def own(self, items: Sequence[Item], *, step: str, epoch: int | None, leaves: Sequence[Mapping[str, str]] = (),
            ) -> None:
        """Let the host note what is about to be brought in another way than by its applier; without items, what was.

        `leaves` is what the units that come with it will leave behind.
        """

    def forget(self, *, epoch: int | None) -> None:
        """Let the host remove what is the applier's own there, when its running step has ended: the last of us."""

    def lock(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Read, take, renew or release the lock's record; the answer is the applier's (`lock`).

        A lost connection is not waited for: the others' answers may be enough, and they age.
        """

    def fence(self, epoch: int, *, wait: int = OBSERVE_WAIT, owner: Owner | None = None,
              instead_of: Owner | None = None) -> int:
        """Let the host refuse epochs before this one, once its running step has ended; return the epoch it now has.

        It is higher than asked for where a newer one is installed. With `owner`, it is recorded as that cluster's, in
        place of what was seen there; RefusedForSafety where it is another's. A step that still runs after `wait` s is
        LockHeld.
        """

    def store(self, artifacts: Sequence[tuple[Artifact, Path]], progress: Progress | None = None, *,
              epoch: int | None = None) -> list[str]:
        """Stream files from disk into the host's store; the host checks every digest before it names a file."""

    def share(self, talk: Talk, *, epoch: int | None = None) -> None:
        """Let the host take, fetch and serve artifacts as `talk` says, until it says no more.

        What the host lacks then is known to whoever talks; faults are those of `store`.
        """

    def apply(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Hand the host a bundle as Ansible would, and return its answer; the same step is done once, however often.

        An answer that refuses (stale, fenced) is one too.
        """

    def inspect(self, question: Mapping[str, Any]) -> Inspection:
        """Ask what preflight wants to know before a host is changed.

        The question names `ports` (who listens?), `paths` (which exist?), `directories` (how much room?), `pods` (the
        Pods' ranges: does anything drop what is forwarded for them?), `own` (which are links?), `packages` (can they be
        had?), `files` (whose are they?), `sysctls` (what sets them at boot?), `vip` (interface and address: who has
        it?), and `let_in` with `peers` (what of this do input chains keep out?).
        """

    def examine(self, question: Mapping[str, Any]) -> Examination:
        """Ask how the host lives, in one go: see `examine` in docs/reference/applier-protocol.md for the question."""

    def os_state(self, *, refresh: bool = False) -> OsState:
        """Ask which boot this is, and what the operating system waits for: newer packages, a reboot.

        With `refresh` the lists of packages are read anew first, which changes nothing that is installed.
        """

    def probe(self, probes: Sequence[Mapping[str, Any]], deadline: float, *, interval: float = 0.2) -> dict[str, Any]:
        """Let the host poll until all probes hold; the answer has `ok`, `seconds` and a reason for each probe."""

    def sample(self, request: Mapping[str, Any], take: Take, stop: threading.Event, *, duration: float) -> None:
        """Let the host sample for `duration` seconds or until `stop`; `take` gets each line of results as it comes.

        Returns when the host has told the last one; a lost connection is a HostFault.
        """

    def reach(self, request: Mapping[str, Any], says: Iterable[bytes], take: Take, *, seconds: float) -> None:
        """Let the host listen and try to reach others for `seconds` at most, or until `says` ends; `take` gets lines.

        `says` gives lines for the host, and a sign of life every second or so: without one the host ends by itself.
        """

    def ask(self, path: str, lines: Sequence[str], *, span: float = 0.0, every: float = 0.25,
            again: Sequence[str] | None = None, until: Sequence[str] = ()) -> list[list[str]]:
        """Ask a program at a unix socket, each line once or again and again for `span` seconds.

        Returns the answers by round, each in the order of its lines; first and last round are at least `span` s apart,
        or the last is the first that matches all patterns of `until`. Rounds after the first ask `again`, where given.
        """

    def read(self, paths: Sequence[str]) -> list[bytes]:
        """Return the bytes of files, in this order; a fault where one is not there."""

    def kept(self, steps: str = "") -> list[Kept]:
        """Return what is kept of every path from before its last change, by steps whose id begins with `steps`."""

    def steps(self, run: str) -> dict[str, Any]:
        """Return the results that the host keeps of a run's `steps`, and the ids of those that are `running`."""

    def note(self, run: str, acts: Sequence[Mapping[str, Any]]) -> None:
        """Let the host remember what a run tells about itself."""

    def notes(self) -> dict[str, list[dict[str, Any]]]:
        """Return what runs noted on the host, by their ids."""

    def journal(self, request: Mapping[str, Any], take: Take) -> dict[str, Any]:
        """Give every line of a unit's journal to `take` as it comes, and return the host's answer at the end.

        The host ends its half when our channel closes, so an interrupt here leaves nothing running there.
        """

    def require_forwarding(self, port: int) -> None:
        """Raise a fault where sshd lets nobody through to `port` of its own host; nobody need listen there."""

    def tunnel(self, port: int) -> AbstractContextManager[Way]:
        """Return a way to `port` of the host's own loopback, open while it is entered."""


class Hosts(Protocol):
    """The hosts of one run: many asked at once, every host's outcome kept.

    `waiting` is told, if set, which hosts have not answered yet when that takes long.
    """

    waiting: Waiting | None

    def on(self, host: str, *, patient: bool = True) -> OneHost:
        """Return one host, logged in to; a lost connection is made anew, the `patient` try that for a while."""

    def map(self, fn: Callable[[OneHost], T], hosts: Iterable[str], *, patient: bool = True,
            ) -> dict[str, T | KubewrightError]:
        """Call `fn` with every host in parallel; a host's failure is its outcome, never another's.

        The answer comes with the last host's: who needs a majority by a deadline is not `patient` with lost ones.
        """

    def together(self, fn: Callable[[OneHost], T], hosts: Iterable[str]) -> dict[str, T | KubewrightError]:
        """Like `map`, all at once however many they are: what one host is asked may wait for the others."""

    def also_reach(self, targets: Mapping[str, Target]) -> None:
        """Let these hosts be asked as well; one that is reached already keeps its way."""

    def standing(self, hosts: Iterable[str]) -> list[str]:
        """Return those that can be asked now without a login."""

    def close(self) -> None:
        """Close every connection."""

    def each(self, fn: Callable[[OneHost], T], hosts: Iterable[str]) -> dict[str, T]:
        """Like `map`, but raise one error when any host failed."""
        return raise_all(self.map(fn, hosts))

    def observe_each(self, items_by_host: Mapping[str, Sequence[Item]], *, wait: int = OBSERVE_WAIT,
                     owned: Mapping[str, Any] | None = None) -> dict[str, HostObserved | KubewrightError]:
        """Observe hosts in parallel and keep every host's outcome."""
        return self.map(lambda one: one.observe(items_by_host[one.name], wait=wait, owned=owned), items_by_host)

    def observe(self, items_by_host: Mapping[str, Sequence[Item]], *, wait: int = OBSERVE_WAIT,
                ) -> dict[str, HostObserved]:
        """Observe hosts in parallel; one error holds every host that did not answer."""
        return raise_all(self.observe_each(items_by_host, wait=wait))
