"""Which deprecated APIs somebody has asked an API server for since it started, and the release without each.

The API server counts them itself: https://kubernetes.io/docs/reference/using-api/deprecation-guide/
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

METRIC = "apiserver_requested_deprecated_apis"
_LINE = re.compile(rf"{METRIC}\{{(?P<labels>[^}}]*)\}} (?P<value>[0-9.e+]+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


class Requested(NamedTuple):
    """An API that was asked for; `removed` is the release that has it no more, None where that is not decided."""

    api: str
    resource: str
    removed: tuple[int, int] | None

    def __str__(self) -> str:
        return f"{self.resource} of {self.api}"


def parse(metrics: str) -> Iterator[Requested]:
    """Yield what an API server's metrics say."""
    for line in metrics.splitlines():
        found = _LINE.fullmatch(line.strip())
        if not found or not float(found["value"]):
            continue
        labels = dict(_LABEL.findall(found["labels"]))
        api = "/".join(part for part in (labels.get("group", ""), labels.get("version", "")) if part)
        resource = "/".join(part for part in (labels.get("resource", ""), labels.get("subresource", "")) if part)
        yield Requested(api, resource, _release(labels.get("removed_release", "")))


def gone_in(requested: Iterable[Requested], kubernetes: str) -> tuple[Requested, ...]:
    """Return those that the target release has no more, each once."""
    target = tuple(map(int, kubernetes.split(".")[:2]))
    return tuple(sorted({r for r in requested if r.removed is not None and r.removed <= target}))


def _release(text: str) -> tuple[int, int] | None:
    major, _, minor = text.partition(".")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None
