"""Ends a Python program once its work is done: Python does not take its objects apart one by one at the end.

Our own command ends by `end`: of `plan` a tenth was Python's end, and up to 0.8 s on a busy machine (measured in the
lab). For others it is a script (no import of this package): `python -P swift_end.py SCRIPT ARGUMENTS...`. Python's end
and its search for garbage take ansible-playbook a third of its processor time, for memory that dies with the process,
and each batch of a run waits for it.
"""

import atexit
import gc
import os
import sys
import threading
from contextlib import suppress
from typing import NoReturn

SELDOM = 100_000, 20, 20    # in place of 700, 10, 10: most objects of a start stay to the end


def main(argv: list[str]) -> int:
    """Run the script as if it had been started itself, and return its exit status."""
    import runpy

    gc.set_threshold(*SELDOM)
    sys.argv = argv
    try:
        runpy.run_path(argv[0], run_name="__main__")
    except SystemExit as said:
        if isinstance(said.code, str):
            print(said.code, file=sys.stderr)
        return said.code if isinstance(said.code, int) else int(said.code is not None)
    return 0


def end(code: int, *, wait: bool = True) -> NoReturn:
    """End with this status; threads are waited for and what was registered for the end is done, as Python does it.

    Without `wait` threads are left where they are: they wait for hosts, and somebody has had enough of that. Ctrl-C
    ends the waiting; nothing that goes wrong from here on changes how the work ended.
    """
    try:
        with suppress(KeyboardInterrupt):
            if wait:
                threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    end(main(sys.argv[1:]))     # whatever else the script raises is told by Python, and ends it in its usual way
