"""The same question for many at once: every answer is kept, and an interrupt waits for nobody."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
TELL = 2.0          # seconds after which it is told whom we wait for, and again
NAMED = 5           # of those that are waited for, where they are many
Waiting = Callable[[int, Sequence[str]], None]
"""Called with the number of all and the names of those that are waited for; with none when all have answered."""


def ask_all(ask: Callable[[K], T], names: Iterable[K], *, workers: int, name: str, waiting: Waiting | None = None,
            ) -> dict[K, T]:
    """Return what `ask` returns for every name, in their order; what it raises is raised once all have ended.

    On an interrupt those that have not begun do not, and those that have are left to themselves.
    """
    of = list(dict.fromkeys(names))
    if not of:
        return {}
    executor = ThreadPoolExecutor(max_workers=min(len(of), workers), thread_name_prefix=name)
    told = False
    try:
        futures = {one: executor.submit(ask, one) for one in of}
        while open_ := wait(futures.values(), timeout=TELL if waiting else None).not_done:
            if waiting is not None:
                waiting(len(of), [str(one) for one, future in futures.items() if future in open_])
                told = True
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        raise
    finally:
        if waiting is not None and told:
            waiting(len(of), ())
    executor.shutdown()
    return {one: future.result() for one, future in futures.items()}


def waited_for(total: int, missing: Sequence[str]) -> str:
    """Return whom we wait for, as a person reads it; nothing when all have answered."""
    if not missing:
        return ""
    more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
    return f"{total - len(missing)} of {total} answered, waiting for {', '.join(missing[:NAMED])}{more}"
