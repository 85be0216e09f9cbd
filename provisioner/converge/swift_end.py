"""Ends a Python program once its work is done: Python does not take its objects apart one by one at the end.

Started as a script of its own (no import of this package): `python -P swift_end.py SCRIPT ARGUMENTS...`. Python's own
end and its search for garbage take ansible-playbook a third of its processor time, for memory that dies with the
process, and each batch of a run waits for it.
"""

import atexit
import gc
import os
import runpy
import sys
import threading
from typing import NoReturn

SELDOM = 100_000, 20, 20    # in place of 700, 10, 10: most objects of a start stay to the end


def main(argv: list[str]) -> int:
    """Run the script as if it had been started itself, and return its exit status."""
    gc.set_threshold(*SELDOM)
    sys.argv = argv
    try:
        runpy.run_path(argv[0], run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def end(code: int) -> NoReturn:
    """End with this status; threads are waited for and what was registered for the end is done, as Python does it."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    end(main(sys.argv[1:]))     # whatever else the script raises is told by Python, and ends it in its usual way
