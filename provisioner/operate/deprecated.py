"""Which deprecated APIs somebody has asked an API server for since it started, and the release without each.

The API server counts them itself: https://kubernetes.io/docs/reference/using-api/deprecation-guide/
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from provisioner.errors import KubewrightError
from provisioner.operate.kube import Kube

METRIC = "apiserver_requested_deprecated_apis"
NAMED = 10      # objects named before the rest is counted
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


def stored(kube: Kube, one: Requested) -> str:
    """Say which objects somebody writes in that version, with who does, by the server's own notes on their fields.

    What is stored itself needs nothing: the server gives it in every version that it has. Why nothing could be seen is
    said as well.
    """
    path = f"/apis/{one.api}" if "/" in one.api else f"/api/{one.api}"
    resource = one.resource.partition("/")[0]
    try:
        found = [line for item in kube.every(f"{path}/{resource}") if (line := _written(item["metadata"], one.api))]
    except KubewrightError as fault:
        return f"which objects are written in it was not looked at: {fault.message}"
    if not found:
        return "no object that is there was written in it"
    hidden = len(found) - NAMED
    return f"written in it: {'; '.join(found[:NAMED])}" + (f" and {hidden} more" if hidden > 0 else "")


def _written(metadata: Mapping[str, Any], api: str) -> str:
    """Return an object's namespace and name and who writes it in this version; "" where nobody does."""
    by = sorted({str(entry.get("manager")) for entry in metadata.get("managedFields") or ()
                 if entry.get("apiVersion") == api})
    name = "/".join(part for part in (metadata.get("namespace", ""), metadata["name"]) if part)
    return f"{name} by {', '.join(by)}" if by else ""


def _release(text: str) -> tuple[int, int] | None:
    major, _, minor = text.partition(".")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None
