"""Where the command begins: from the import of this on, Ctrl-C ends it without a word of Python's while it loads."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

INTERRUPTED = 130
PROGRAM = "kubewright"


def leave(signum: int, frame: FrameType | None) -> None:
    """End at once: until the command line runs, nothing is begun that would have to be left in order."""
    os._exit(INTERRUPTED)


def loaded() -> None:
    """From now on Ctrl-C is an exception, for what is begun next has to be left in order.

    Not before: libraries that make their classes swallow it there, and the command would go on.
    """
    if signal.getsignal(signal.SIGINT) == leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


# Not where others import us, and not where whoever started us wants it ignored.
ours = sys.argv[0].rpartition("/")[2] == PROGRAM
if ours and signal.getsignal(signal.SIGINT) == signal.default_int_handler:
    signal.signal(signal.SIGINT, leave)
