"""Why a unit does not do what it should: what its last words mean, and the words themselves, whole."""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.errors import KubewrightError
from provisioner.model.words.row import Meaning
from provisioner.model.words.table import ON_HOSTS, meaning
from provisioner.operate import logs
from provisioner.transport.hosts import OneHost

READ = 40       # lines of the journal in which the cause is looked for: etcd says some ten after what made it end
SHOWN = 8       # of them are shown


def of_unit(one: OneHost, unit: str) -> tuple[str, ...]:
    """Return lines for people: headline, causes and what to type where the words are known, then the words.

    Nothing where the host no longer answers: then that is the fault, and told by who asked it before.
    """
    said: list[str] = []
    try:
        logs.read(one, unit, lambda line: said.extend(_told(line)), lines=READ)
    except KubewrightError:
        return ()
    if not said:
        return (f"{_short(unit)} said nothing",)
    means = meaning("\n".join(said), *ON_HOSTS, host=one.name, user=one.target.user, unit=_short(unit))
    return (*_meant(unit, means), f"{_short(unit)} said last:", *(f"  {line}" for line in _shown(said, means)))


def _told(line: logs.Line) -> Iterator[str]:
    yield from (text for text in logs.printable(line.message) if text.strip())


def _meant(unit: str, means: Meaning | None) -> tuple[str, ...]:
    return () if means is None else (f"{_short(unit)}: {means.says}", *means.lines())


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
