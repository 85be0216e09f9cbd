"""What an inventory or a lock would take back of what a cluster runs: judged three ways, versions by their order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from provisioner.compile.rules import differing, document, is_nothing, short
from provisioner.compile.versions import KUBERNETES_BINARIES
from provisioner.model.applied import HOST_PATH, Applied
from provisioner.model.artifact import ArtifactLock
from provisioner.model.plan import NEEDS_FLAG, REFUSED, Verdict
from provisioner.model.releases import numbers

ELSEWHERE, DOWNGRADED, ETCD_BACK = "applied-elsewhere", "component-downgraded", "etcd-downgraded"
FLAGS = frozenset({ELSEWHERE, DOWNGRADED})
_UNDOES = ("it was applied from elsewhere, and this checkout would take it back: bring cluster.yaml and "
           "artifacts.lock up to date first")
_NEVER_SEEN = ("this checkout has not seen yet what is applied, and may be an older one: bring cluster.yaml and "
               "artifacts.lock up to date first")
_OLDER = "an older version brings back the faults it was left for, and may not read what the newer one has written"
_NEVER = "etcd reads no data that a later minor has written"
NEVER = {ETCD_BACK: _NEVER}
UNREADABLE = Verdict(
    HOST_PATH, ELSEWHERE, NEEDS_FLAG, "no host's record of what was applied can be read (a newer kubewright's, or "
    "edited by hand), so nothing tells what this checkout would take back", "unreadable", "cluster.yaml as it is here")
Values = Mapping[tuple[str, ...], Any]


def judge(seen: Applied | None, applied: Applied, asked: Applied) -> tuple[Verdict, ...]:
    """Return what `asked` would take back of what is `applied`, `seen` being what this checkout last knew to be.

    A value that is applied, was not `seen`, and is not asked for is somebody else's; one that was `seen` may be changed
    at will. A checkout that has seen nothing may add in silence, but neither change nor take away.
    """
    return (*_elsewhere(seen, applied, asked), *_older(applied.lock, asked.lock))


def _elsewhere(seen: Applied | None, applied: Applied, asked: Applied) -> tuple[Verdict, ...]:
    taken = _differences(applied, asked)
    if seen is None:
        taken = {path: values for path, values in taken.items() if not is_nothing(values[0])}
    else:
        news = _differences(seen, applied)
        taken = {path: values for path, values in taken.items() if _touches(path, news)}
    sentence = _NEVER_SEEN if seen is None else _UNDOES
    return tuple(Verdict(".".join(path), ELSEWHERE, NEEDS_FLAG, sentence, short(before, path), short(after, path))
                 for path, (before, after) in taken.items())


def _touches(path: tuple[str, ...], news: Values) -> bool:
    """Say whether what changed at one path is what changed at another, or lies within it."""
    return any(path[:len(other)] == other[:len(path)] for other in news)


def _differences(old: Applied, new: Applied) -> dict[tuple[str, ...], Any]:
    """Return path -> (value before, after) of all that the two are made from, an artifact as its version and digest."""
    both = differing({**document(old.cluster), "artifacts.lock": _artifacts(old.lock)},
                     {**document(new.cluster), "artifacts.lock": _artifacts(new.lock)})
    return {path: (before, after) for path, before, after in both}


def _artifacts(lock: ArtifactLock) -> dict[str, str]:
    return {f"{a.name} ({a.arch})": f"{a.version} {a.sha256[:8]}" for a in lock.artifacts}


def _older(applied: ArtifactLock, asked: ArtifactLock) -> tuple[Verdict, ...]:
    """Return the components that would go back; those of Kubernetes are judged by the inventory's version."""
    runs = {(a.component, a.arch): a.version for a in applied.artifacts if a.name not in KUBERNETES_BINARIES}
    verdicts: dict[str, Verdict] = {}
    for artifact in asked.artifacts:
        before = runs.get((artifact.component, artifact.arch), artifact.version)
        if numbers(artifact.version) < numbers(before):
            minor = artifact.component == "etcd" and numbers(artifact.version)[:2] < numbers(before)[:2]
            code, outcome, why = (ETCD_BACK, REFUSED, _NEVER) if minor else (DOWNGRADED, NEEDS_FLAG, _OLDER)
            verdicts[artifact.component] = Verdict(
                f"artifacts.lock.{artifact.component}", code, outcome, why, before, artifact.version)
    return tuple(verdicts.values())
