"""Ctrl-C works in the tests also where a shell runs them in its background: it has SIGINT ignored there."""

from __future__ import annotations

import signal

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
