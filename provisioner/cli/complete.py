"""What a tab offers: read from local files, in a moment, and nothing at all where these cannot be read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from provisioner.cli.context import Context
from provisioner.errors import KubewrightError

_FIRST_EVENTS = 64 << 10        # bytes: what is told before a run begins is a few lines
Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def _offer(words: Callable[[click.Context], Iterable[str]]) -> Complete:
    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        try:
            return [word for word in words(ctx) if word.startswith(incomplete)]
        except (KubewrightError, OSError, ValueError):
            return []       # a tab is no place for an error
    return complete


def _directory(ctx: click.Context) -> Path:
    from provisioner.model.inventory import find_inventory

    context = ctx.find_object(Context)
    return find_inventory(context.directory if context else None, os.environ, Path.cwd())


def _mapping(file: Path) -> dict[str, Any]:
    """Return a YAML file as it stands, unjudged: of a faulty inventory too the hosts are known."""
    import yaml

    try:
        found = yaml.load(file.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def _hosts(ctx: click.Context) -> Iterator[str]:
    found = _mapping(_directory(ctx) / "cluster.yaml").get("hosts")
    yield from map(str, found if isinstance(found, dict) else ())


def _units(ctx: click.Context) -> Iterator[str]:
    from provisioner.model.paths import data_dir

    places = sorted((data_dir("templates") / "etc/systemd/system").iterdir())
    yield from dict.fromkeys(place.name.partition(".service")[0] for place in places)


def _runs(ctx: click.Context) -> list[str]:
    """Return those that began: who ended before (a host did not answer) left a directory and nothing to resume."""
    kept = (_directory(ctx) / ".kubewright" / "runs").glob("*/events.jsonl")
    return sorted((file.parent.name for file in kept if _begun(file)), reverse=True)


def _begun(file: Path) -> bool:
    with file.open("rb") as events:
        return b'"run-start"' in events.read(_FIRST_EVENTS)


def _verbs(ctx: click.Context) -> Iterable[str]:
    """Return the verbs that may stand next: of the program, or of the group that is named already."""
    group: click.Command | None = ctx.find_root().command
    for word in ctx.params.get("verb") or ():
        group = group.get_command(ctx, word) if isinstance(group, click.Group) else None
    return group.list_commands(ctx) if isinstance(group, click.Group) else ()


def _components(ctx: click.Context) -> Iterator[str]:
    pinned = _mapping(_directory(ctx) / "artifacts.lock").get("artifacts", ())
    yield from dict.fromkeys(str(a["component"]) for a in pinned if isinstance(a, dict) and "component" in a)


def _phases(ctx: click.Context) -> tuple[str, ...]:
    from provisioner.model.phases import BEGINNINGS

    return BEGINNINGS


def _all_checks(ctx: click.Context) -> Iterable[str]:
    from provisioner.operate.checks.table import CHECKS

    return (check.name for check in CHECKS)


def _checks(ctx: click.Context) -> Iterable[str]:
    from provisioner.operate.checks.table import SKIPPABLE

    return SKIPPABLE


def _diagnoses(ctx: click.Context) -> Iterable[str]:
    from provisioner.operate.doctor.explain import NAMES

    return NAMES


def _rules(ctx: click.Context) -> Iterator[str]:
    from provisioner.compile.rules import TABLE
    from provisioner.model.plan import NEEDS_FLAG

    yield from dict.fromkeys(rule.code for rule in TABLE if rule.outcome == NEEDS_FLAG)


hosts, units, runs, verbs = _offer(_hosts), _offer(_units), _offer(_runs), _offer(_verbs)
components, phases, checks, rules = _offer(_components), _offer(_phases), _offer(_checks), _offer(_rules)
diagnoses = _offer(_diagnoses)
all_checks = _offer(_all_checks)
