"""What every verb gets: the options before it, and the inventory when it asks for it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from provisioner.model.events import Event
    from provisioner.model.inventory import Inventory

_NAME = "kubewright"


@dataclass
class Context:
    """The options of one call; `inventory` is found, read and validated at first use, so `--help` needs none."""

    directory: str | None = None
    output: str = "text"
    verbose: bool = False
    identity: str | None = None
    ask_become: bool = False        # sudo asks for a password on the hosts
    words: Sequence[str] = ()       # of the command line, behind the program
    answered: bool = False          # a JSON document was printed: a program gets one, whatever comes after

    @cached_property
    def inventory(self) -> Inventory:
        """Find and open the inventory; a missing one is a usage fault, a wrong one is refused with all its faults."""
        from provisioner import begin
        from provisioner.model.inventory import Inventory, find_inventory

        named = self.identity or os.environ.get("KUBEWRIGHT_IDENTITY")
        opened = Inventory.open(find_inventory(self.directory, os.environ, Path.cwd()))
        begin.loaded()
        if self.ask_become:
            from provisioner.cli.password import asker

            opened = replace(opened, ask_become=asker())
        return replace(opened, identity=Path(named).expanduser().absolute()) if named else opened

    @property
    def opened(self) -> Inventory | None:
        """Return the inventory if a verb has opened it already."""
        opened: Inventory | None = self.__dict__.get("inventory")
        return opened

    @property
    def wants_json(self) -> bool:
        """Say whether the result goes to a program."""
        return self.output == "json"

    def command(self, verb: str) -> str:
        """Return how to call a verb on this inventory, as this call was made: a hint that can be pasted."""
        import shlex

        chosen = f" -i {shlex.quote(self.directory)}" if self.directory else ""
        chosen += f" --identity {shlex.quote(self.identity)}" if self.identity else ""
        chosen += " --ask-become" if self.ask_become else ""
        return f"{_program()}{chosen} {verb}"

    def again(self, *more: str) -> str:
        """Return this very call with more words behind it, to be pasted."""
        import shlex

        return shlex.join([_program(), *self.words, *more])

    def pasted(self, hint: str) -> str:
        """Return a hint with its commands called as this call was made; what names an inventory itself stays."""
        import re

        from provisioner.cli.verbs import existing_verbs

        def called(found: re.Match[str]) -> str:
            needs_none = found[1] in ("schema", "--help") or hint.endswith(" --help")
            return f"{_program()} {found[1]}" if needs_none else self.command(found[1])

        verbs = "|".join([*existing_verbs(), "--help"])
        return re.sub(rf"(?<![\w/.-])kubewright ({verbs})(?![\w-])", called, hint)

    def enter_lab(self) -> None:
        """Enter the lab's own network if the inventory is a lab; call it before any thread or connection."""
        if self.inventory.cluster.lab:
            from provisioner.lab.network import enter_namespace

            enter_namespace(self.inventory.cluster.cluster)

    def told(self, event: Event) -> None:
        """Show of a read's events whom it waits for: one line on a terminal, which is gone when all have answered."""
        import shutil

        from provisioner.report.console import is_plain

        if event.type != "waiting" or is_plain(sys.stderr):
            return
        sys.stderr.write(f"\r\x1b[J{event.message[:shutil.get_terminal_size().columns - 1]}")
        sys.stderr.flush()

    def waiting(self, total: int, missing: Sequence[str]) -> None:
        """Show whom we wait for, where there is no session whose events say it."""
        from provisioner.model.events import Event
        from provisioner.parallel import waited_for

        self.told(Event("waiting", 0.0, message=waited_for(total, missing)))

    def print_json(self, document: Mapping[str, Any]) -> None:
        """Print one JSON document with its schema version on stdout."""
        import json

        import click

        self.answered = True
        click.echo(json.dumps({"schema_version": 1, **document}, indent=2, ensure_ascii=False))


def _program() -> str:
    """Return what to type to run us again from here: the file, where it is ours and no PATH leads to it."""
    import shutil

    program = Path(sys.argv[0])
    direct = program.name == _NAME and os.access(program, os.X_OK) and not shutil.which(_NAME)
    return os.path.relpath(program) if direct else _NAME
