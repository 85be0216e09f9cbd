"""Why a unit does not do what it should: what its last words mean, and the words themselves, whole."""

from __future__ import annotations

from collections.abc import Sequence

from provisioner.errors import KubewrightError
from provisioner.model.words.row import Meaning
from provisioner.model.words.table import ON_HOSTS, meaning
from provisioner.operate import logs
from provisioner.transport.hosts import OneHost

# Lines of the journal in which the cause is looked for: a program that refuses its flags tells all some 200 that there
# are, at each start, and journald may write them down after what systemd says of its end and of the next start.
READ = 600
_FAILED = "Failed with result"      # systemd's words for a unit that was not asked to end
SHOWN = 8       # of them are shown


def of_unit(one: OneHost, unit: str) -> tuple[str, ...]:
    """Return lines for people: headline, causes and what to type where the words are known, then the words.

    Nothing where the host no longer answers: then that is the fault, and told by who asked it before.
    """
    lines: list[logs.Line] = []
    try:
        logs.read(one, unit, lines.append, lines=READ)
    except KubewrightError:
        return ()
    said = [text for line in _since_it_failed(lines) for text in logs.printable(line.message) if text.strip()]
    if not said:
        return (f"{one.name}: {unit} said nothing",)
    means = meaning("\n".join(said), *ON_HOSTS, host=one.name, user=one.target.user, unit=_short(unit))
    told = () if means is None else (f"{one.name}: {_short(unit)}: {means.says}", *means.lines())
    return (*told, headed(one.name, unit), *(f"    {line}" for line in _shown(said, means)))


def headed(host: str, unit: str) -> str:
    """Return the line above a unit's words: who has it has them."""
    return f"{host}: {unit} said last:"


def _since_it_failed(lines: Sequence[logs.Line]) -> Sequence[logs.Line]:
    """Return what a unit said since the first start after it was stopped for a change: before, another one spoke.

    Where it was not stopped, since the start before its last, which may not have come to a word yet; where that is
    further up than anybody reads, all of it counts.
    """
    by_systemd = [(n, line.message) for n, line in enumerate(lines) if line.process == "systemd"]
    stopped = max((n for n, said in by_systemd if said.startswith("Stopping ")), default=-1)
    starts = [n for n, said in by_systemd if said.startswith("Starting ") and n > stopped]
    if not starts:
        return lines
    if stopped >= 0:
        return lines[starts[0]:]
    if len(starts) == 1 and any(_FAILED in said for n, said in by_systemd if n < starts[0]):
        return lines
    return lines[starts[max(0, len(starts) - 2)]:]


def _shown(said: list[str], means: Meaning | None) -> list[str]:
    """Return the last lines, and before them the one that was understood where it is further up."""
    last = said[-SHOWN:]
    known = [line for line in said if means is not None and _understood(line, means)]
    return last if not known or known[-1] in last else [known[-1], *last]


def _understood(line: str, means: Meaning) -> bool:
    again = meaning(line, *ON_HOSTS)
    return again is not None and again.name == means.name


def _short(unit: str) -> str:
    return unit.removesuffix(".service")
