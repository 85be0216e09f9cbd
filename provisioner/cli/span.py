"""A span of time as every verb takes it: 60s, 10m, 1h, 1d; a number alone is seconds."""

from __future__ import annotations

import re

import click

from provisioner.errors import UsageFault

_FORM = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


class Span(click.ParamType):  # type: ignore[type-arg]  # generic only in newer releases of click
    """Seconds, from what a person writes; `least` is the shortest that means something. UsageFault for all else."""

    name = "time"

    def __init__(self, least: float = 0) -> None:
        self.least = least

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds that `value` is."""
        found = _FORM.fullmatch(str(value))
        seconds = float(found[1]) * _SECONDS[found[2]] if found else -1.0
        if seconds < self.least:
            option = param.opts[0] if param is not None else ""
            raise UsageFault(f"{option} {value}: not a time like 60s, 10m, 1h or 1d", code="span-form",
                             hint=f"{option} 60s")
        return seconds
