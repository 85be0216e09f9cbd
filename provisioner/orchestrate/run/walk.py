"""The way through a verb's phases: one after the other, and on a first start beside one another.

A first start takes nothing away from anybody, so all that a phase waits for is what it needs (`Phase.after`). On a live
cluster the order of the list holds: two phases at once could take away more than one of something.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue

from provisioner.errors import KubewrightError
from provisioner.orchestrate.session.live_run import Abandoned
from provisioner.orchestrate.session.phase import Phase
from provisioner.orchestrate.session.session import Session

_LOOK = 1.0     # seconds between two looks at whether another phase has ended the walk
Perform = Callable[[Phase, Sequence[Phase]], None]
"""Does and proves one phase; told too which phases come after it one by one, none where others run beside it."""


class Walk:
    """One walk: `waiting` are the phases that have not begun, `last` is the one that ended it, or came last."""

    def __init__(self, session: Session, phases: Sequence[Phase], perform: Perform) -> None:
        self._session, self._perform = session, perform
        self._names = [p.name for p in phases]
        self._running: dict[str, Phase] = {}
        self._open = set(self._names)       # not proved yet
        self._proved = threading.Condition()
        self._ended: SimpleQueue[tuple[Phase, BaseException | None]] = SimpleQueue()
        self.waiting = list(phases)
        self.last = self._names[0] if phases else ""

    @property
    def running(self) -> tuple[str, ...]:
        """Return the phases that have begun and not ended."""
        return tuple(self._running)

    def wait_for(self, names: Collection[str]) -> None:
        """Return when these phases are proved, as far as they are walked; Abandoned when another ended the walk."""
        with self._proved:
            while self._open & set(names):
                self._session.run.stay()
                self._proved.wait(_LOOK)

    def go(self) -> None:
        """Perform all phases; the first failure ends the walk and is raised unchanged.

        What runs beside it comes to its next safe point first. A KeyboardInterrupt waits for nobody.
        """
        if self._names and self._session.plan is not None and self._session.plan.bootstrap:
            self._beside_one_another()
        else:
            self._one_by_one()

    def _one_by_one(self) -> None:
        while self.waiting:
            self.last = self.waiting[0].name
            if len(self.waiting) < len(self._names):
                self._session.run.safe_point()
            phase = self.waiting.pop(0)
            self._perform(phase, tuple(self.waiting))
            self._open.discard(phase.name)

    def _beside_one_another(self) -> None:
        self._threads = ThreadPoolExecutor(max(1, len(self._names)), thread_name_prefix="phase")
        try:
            stopped: BaseException | None = self._begun(None)
            while self._running:
                phase, stop = self._ended.get()
                del self._running[phase.name]
                if stopped is None and not isinstance(stop, Abandoned):
                    self.last = phase.name
                    stopped = stop or self._begun(phase)
        finally:        # a thread ends with its phase, whoever asked twice and waits for none
            self._threads.shutdown(wait=not self._running)
        if stopped is not None:
            raise stopped

    def _begun(self, proved: Phase | None) -> KubewrightError | None:
        """Begin what may begin now that a phase is proved; return what a watcher of the session stops the run for."""
        with self._proved:
            self._open -= {proved.name} if proved else set()
            self._proved.notify_all()
        try:
            self._begin_ready()
        except Abandoned:       # by a phase that says why when it has ended
            return None
        except KubewrightError as why:
            self._session.run.abandoned.set()
            return why
        return None

    def _begin_ready(self) -> None:
        """Begin every phase whose needs are proved; the session's watchers are asked before each but the first."""
        for phase in list(self.waiting):
            before = self._names[:self._names.index(phase.name)]
            if self._open & set(before if phase.after is None else phase.after):
                continue
            if len(self.waiting) < len(self._names):
                self._session.run.safe_point()
            self.waiting.remove(phase)
            self._running[phase.name] = phase
            self._threads.submit(self._one, phase).add_done_callback(partial(self._end, phase))

    def _one(self, phase: Phase) -> None:
        """Perform a phase in its own thread, which works on nothing afterwards."""
        try:
            self._perform(phase, ())
        finally:
            self._session.run.works_on("")

    def _end(self, phase: Phase, done: Future[None]) -> None:
        """Hand the end of a phase to the one that waits for it; called by either of them."""
        stop = done.exception()
        if stop is not None:
            self._session.run.abandoned.set()
        self._ended.put((phase, stop))
