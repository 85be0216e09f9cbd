"""What a person sees of a fault of ours: one sentence and a file; the traceback is for the file."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from provisioner.cli.context import Context

Hook = Callable[[type[BaseException], BaseException, TracebackType | None], None]


def reporter(context: Context) -> Hook:
    """Return the excepthook of this call; Python itself then ends with exit code 1."""

    def report(kind: type[BaseException], err: BaseException, trace: TracebackType | None) -> None:
        import traceback

        text = "".join(traceback.format_exception(kind, err, trace))
        print(f"error: this is a bug in kubewright: {kind.__name__}: {err}", file=sys.stderr)
        try:
            file = _write(text, _directory(context))
        except OSError as problem:
            print(text, f"(the traceback could not be kept in a file: {problem})", sep="\n", file=sys.stderr)
        else:
            print(f"The whole story is in {file}; please send it along. Nothing was rolled back: running the same "
                  "command again is safe.", file=sys.stderr)
    return report


def _directory(context: Context) -> Path:
    if context.opened is not None:
        return context.opened.state_dir
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "kubewright"


def _write(text: str, directory: Path) -> Path:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = directory / f"bug-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        out.write(f"command: {' '.join(sys.argv)}\n{text}")
    return file
