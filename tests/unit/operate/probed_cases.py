"""What a case of the checks says of tries between hosts: all went well, but for what it names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from provisioner.decide.reach import needs
from provisioner.model.cluster import Cluster
from provisioner.model.reach import Alone, Probed, Tried

Case = Mapping[str, Any]


def probed_of(cluster: Cluster, case: Case) -> Probed | None:
    """Return what was tried, None where the case says nothing of it.

    `ways` are [sources, targets, at, what of the outcome is otherwise]; `*` is every host or port.
    """
    if not {"ways", "alone"} & case.keys():
        return None
    tried = tuple(_outcome(need, case.get("ways", ()))
                  for need in needs(cluster, sizes={h.name: 1500 for h in cluster.machines}))
    sized = {name for t in tried if t.need.size for name in (t.need.source, t.need.target)}
    alone = {name: replace(one, sized=name in sized) for name, one in alone_of(case).items()}
    return Probed(tried, alone, router=10)


def _outcome(need: Any, ways: Any) -> Tried:
    tried = Tried(need, True, ms=(0.2,), of=need.times, passes=need.size or None) if need.protocol == "tcp" else Tried(
        need, True, passes=need.size or None)
    for sources, targets, at, changes in ways:
        if _is(sources, need.source) and _is(targets, need.target) and _is(at, need.at):
            given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in changes.items()}
            tried = replace(tried, **given)
    return tried


def _is(wanted: Any, name: str) -> bool:
    return wanted == "*" or name in (wanted if isinstance(wanted, list) else [wanted])


def alone_of(case: Case) -> dict[str, Alone]:
    """Return what hosts found out by themselves; all that a case names took part."""
    return dict(_alone(case))


def _alone(case: Case) -> Iterator[tuple[str, Alone]]:
    for name in case["hosts"]:
        said = case.get("alone", {}).get(name, {})
        yield name, Alone(said.get("fsync"), tuple(said["also"]) if "also" in said else None, said.get("dns"),
                          tuple((who, router) for who, router in said.get("routers", ())), said.get("unseen", {}))
