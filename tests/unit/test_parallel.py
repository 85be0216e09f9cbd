"""The same question for many: every answer is kept, whom we wait for is told, and an interrupt waits for nobody."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from provisioner import parallel
from provisioner.parallel import ask_all, waited_for


def test_answers_come_in_the_order_of_the_questions() -> None:
    assert ask_all(lambda n: n * n, [3, 1, 2, 3], workers=2, name="x") == {3: 9, 1: 1, 2: 4}
    assert ask_all(lambda n: n, [], workers=2, name="x") == {}


def test_what_is_waited_for_long_is_told_and_that_it_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "TELL", 0.05)
    said: list[str] = []
    late = threading.Event()

    def told(total: int, missing: object) -> None:
        said.append(waited_for(total, list(missing)))  # type: ignore[call-overload]
        late.set()

    ask_all(lambda name: late.wait(10) if name == "w2" else None, ["cp1", "w2", "w1"], workers=3, name="x",
            waiting=told)
    assert said[0] == "2 of 3 answered, waiting for w2"
    assert said[-1] == ""


def test_nobody_is_told_of_what_is_quick() -> None:
    said: list[int] = []
    ask_all(str, [1, 2], workers=2, name="x", waiting=lambda total, missing: said.append(total))
    assert said == []


def test_an_interrupt_waits_for_nobody() -> None:
    over, began, main = threading.Event(), threading.Event(), threading.get_ident()

    def ask(name: str) -> None:
        began.set()
        over.wait(60)

    def interrupt() -> None:
        began.wait(60)
        time.sleep(0.2)         # so that the main thread waits, and is not still handing work out
        signal.pthread_kill(main, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        ask_all(ask, ["a", "b"], workers=1, name="x")
    assert time.monotonic() - start < 5
    over.set()


def test_many_are_named_in_part() -> None:
    assert waited_for(500, [f"w{n}" for n in range(1, 8)]) == (
        "493 of 500 answered, waiting for w1, w2, w3, w4, w5 and 2 more")
