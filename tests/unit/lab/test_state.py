"""Work on many nodes at once: every failure is told, and Ctrl-C reaches those who wait."""

from __future__ import annotations

import signal
import threading
from threading import Event

import pytest

from provisioner.errors import GateFailed, PreflightRefused
from provisioner.lab import state


def test_every_failure_of_parallel_work_is_told_and_the_others_are_done() -> None:
    done: list[str] = []

    def act(name: str) -> None:
        if name != "w1":
            raise GateFailed(f"{name}: booting: no", details=[f"last words of {name}"])
        done.append(name)

    with pytest.raises(GateFailed) as caught:
        state.each(["cp1", "cp2", "w1"], act, "booting")
    assert caught.value.message == "cp1, cp2: booting: failed"
    assert caught.value.details == ("cp1: booting: no", "last words of cp1", "cp2: booting: no", "last words of cp2")
    assert done == ["w1"]


def test_the_kind_of_failure_is_kept() -> None:
    def act(name: str) -> None:
        raise PreflightRefused("no tools", hint="apt-get install tools", code="lab-tools")

    with pytest.raises(PreflightRefused) as caught:
        state.each(["cp1"], act, "booting")
    assert (caught.value.hint, caught.value.code) == ("apt-get install tools", "lab-tools")


def test_nothing_to_do_is_fine() -> None:
    state.each([], lambda name: pytest.fail("called"), "booting")


def test_ctrl_c_ends_the_waiting_of_all_nodes() -> None:
    stopping, main = Event(), threading.main_thread().ident
    assert main is not None

    def act(name: str) -> None:
        if name == "cp1":
            signal.pthread_kill(main, signal.SIGINT)
        assert stopping.wait(30), "nobody told us"

    with pytest.raises(KeyboardInterrupt):
        state.each(["cp1", "w1"], act, "waiting", stopping)
