"""`status --watch`: on a terminal a page that is painted anew, elsewhere a status for each change."""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from provisioner.cli.context import Context

if TYPE_CHECKING:
    from provisioner.model.inventory import Inventory
    from provisioner.orchestrate.look.status import Status

_MOVES = re.compile(r"   checked in [\d.]+s|\b[\d.]+ [kMG]?B\b|\b\d+s\b| +[\d.]+s\b")      # by itself, and is no news
_BEAT = 1.0     # seconds between two paintings of the run at work: as often as a person takes it in


def watch(context: Context, every: float) -> int:
    """Look until Ctrl-C and return the exit code of the last look; a look that fails is shown and may pass.

    Raises what is wrong with the inventory, as `status` does.
    """
    inventory = context.inventory
    page, code = _Page(context), 0
    try:
        while True:
            code = page.look()
            end = time.monotonic() + every
            while (left := end - time.monotonic()) > 0:
                time.sleep(min(left, _BEAT))
                page.show(present(inventory))
    except KeyboardInterrupt:
        return code


def present(inventory: Inventory) -> list[str]:
    """Return the newest run that this machine knows of, in lines; it is read here, no host is asked."""
    from provisioner.orchestrate.session import runs
    from provisioner.report.present import present_lines
    from provisioner.report.story import story_of

    run = next(iter(runs.here(inventory)), None)
    if run is None:
        return []
    told = runs.events(runs.place(inventory, run.id))
    return list(present_lines(story_of(run.id, told, outcome=run.outcome), time.time()))


class _Page:
    """What is seen now. On a terminal it is painted over; elsewhere it is printed where something is new."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._status: Sequence[str] = ("Looking ...",)
        self._json = ""
        self._shown = ""
        self._paints = sys.stdout.isatty() and not context.wants_json

    def look(self) -> int:
        """Ask everybody, show it, and return what `status` would have ended with."""
        from provisioner.cli.failure import failure_document, failure_text
        from provisioner.cli.status import NOT_HEALTHY, lines, seen_now
        from provisioner.errors import KubewrightError, UsageFault

        if self._paints:
            self.show(present(self._context.inventory))
        try:
            seen: Status = seen_now(self._context, quiet=True)
        except UsageFault:
            raise
        except KubewrightError as fault:
            document: Mapping[str, Any] = failure_document(fault, self._context.pasted)
            text, code = failure_text(fault, self._context.pasted), fault.exit_code
        else:
            document, text, code = seen.to_json(), "\n".join(lines(seen)), 0 if seen.healthy else NOT_HEALTHY
        self._status = self._context.pasted(text).splitlines()
        self._json = json.dumps({"schema_version": 1, **document}, ensure_ascii=False)
        self.show(present(self._context.inventory))
        return code

    def show(self, run: Iterable[str]) -> None:
        """Show the status with a run below it."""
        text = "\n".join([*self._status, *run])
        if self._paints:
            size = shutil.get_terminal_size()
            fits = [line[:size.columns] for line in text.splitlines()[:size.lines - 1]]
            sys.stdout.write("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in fits) + "\x1b[J")
        elif (key := _MOVES.sub("", text)) != self._shown:
            self._shown = key
            click.echo(self._json if self._context.wants_json else f"{time.strftime('%H:%M:%S')}\n{text}")
        sys.stdout.flush()
