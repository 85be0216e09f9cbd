"""What the applier answers, as values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from provisioner.model.examination import Examination, Inside, Lines, UnitLife
from provisioner.model.facts import Facts, Interface
from provisioner.model.file_system import FileSystem
from provisioner.model.inspection import Dpkg, Inspection, Kernel, Listener, LocalPorts, Packages, Units
from provisioner.model.observed import ObservedItem


def clock_off(epoch: float, asked: float, answered: float) -> float:
    """Return how far a clock that said `epoch` somewhere between two moments of ours is certainly off."""
    return max(0.0, epoch - answered) or min(0.0, epoch - asked)


def facts_of(values: Mapping[str, Any]) -> Facts:
    """Make Facts of the applier's answer."""
    known = {name: values[name] for name in Facts.__dataclass_fields__ if name in values}
    known["interfaces"] = tuple(Interface(i["name"], tuple(i["addresses"]), int(i["mtu"]), str(i.get("mac", "")))
                                for i in values.get("interfaces", ()))
    return Facts(**known)


def items_of(values: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], ObservedItem]:
    """Make observed items of the applier's answer, by identity."""
    return {(i["kind"], i["path"]): ObservedItem(i["kind"], i["path"], i["state"], i.get("extra") or {})
            for i in values}


def inspection_of(answer: Mapping[str, Any]) -> Inspection:
    """Make an Inspection of the applier's answer; what it could not look at stays empty, and is named as unseen."""
    known = {name: _PARTS.get(name, lambda value: value)(value) for name, value in answer.items()
             if name in Inspection.__dataclass_fields__}
    return Inspection(**known)


def _packages_of(answer: Mapping[str, Any]) -> Packages:
    return Packages(tuple(answer["missing"]), bool(answer["listed"]), dict(answer["sites"]),
                    tuple(answer["removes"]))


def _file_systems_of(rows: Sequence[Mapping[str, Any]]) -> tuple[FileSystem, ...]:
    return tuple(FileSystem(**{**row, "paths": tuple(row["paths"])}) for row in rows)


# How the parts of an inspection that are no plain values are read.
_PARTS: Mapping[str, Callable[[Any], Any]] = {
    "listeners": lambda rows: tuple(Listener(x["port"], x["address"], x["process"], x["pid"], x["unit"]) for x in rows),
    "there": frozenset,
    "disks": _file_systems_of,
    "forward_drops": tuple, "input_drops": tuple, "services_of_others": tuple, "packages": _packages_of,
    "shut_out": lambda chains: {chain: tuple((str(p), int(n)) for p, n in packets)
                                for chain, packets in chains.items()},
    "sysctls": lambda rows: tuple((file, key, value) for file, key, value in rows),
    "holders": lambda macs: None if macs is None else tuple(macs),
    "kernel": lambda seen: Kernel(seen["release"], tuple(seen["missing"]), tuple(seen["other_trees"])),
    "capabilities_lost": tuple, "controllers": tuple, "devices_lost": tuple, "python_lacks": tuple, "mounted": tuple,
    "cni": tuple, "chains": tuple, "swap_by": tuple, "netdevs": tuple,
    "units": lambda seen: Units(tuple(seen["masked"]), tuple(seen["keepers"]), int(seen["systemd"]),
                                seen.get("synchronized"), tuple(seen.get("agents", ()))),
    "hosts_file": lambda rows: tuple((address, tuple(names)) for address, names in rows),
    "resolv": lambda seen: {key: tuple(words) for key, words in seen.items()},
    "environment": lambda rows: tuple((file, name, value) for file, name, value in rows),
    "local_ports": lambda seen: LocalPorts(seen["low"], seen["high"], tuple((a, b) for a, b in seen["reserved"])),
    "dpkg": lambda seen: Dpkg(tuple(seen["held"]) if seen["held"] else None, tuple(seen["half"])),
    "routes": lambda rows: tuple((destination, device) for destination, device in rows),
}


def examination_of(answer: Mapping[str, Any]) -> Examination:
    """Make an Examination of the applier's answer."""
    inside = answer["inside"]
    return Examination(
        units=tuple(UnitLife(u["name"], u["exists"], u["active"], u["sub"], u["result"], u["status"], u["restarts"],
                             float(u["since"]), tuple(u["words"])) for u in answer["units"]),
        failed=tuple(answer["failed"]), kernel=_lines_of(answer["kernel"]),
        disks=_file_systems_of(answer["disks"]),
        said=tuple(_lines_of(one) for one in answer["said"]),
        inside=None if inside is None else _inside_of(inside), now=float(answer["now"]),
        unseen={str(part): str(why) for part, why in answer["unseen"].items()})


def _lines_of(answer: Mapping[str, Any]) -> Lines:
    return Lines(tuple((float(moment), str(text)) for moment, text in answer["lines"]), str(answer["why"]))


def _inside_of(answer: Mapping[str, Any]) -> Inside:
    entered = {name: one for name, one in answer["asked"].items() if "entered" not in one}
    return Inside(
        int(answer["there"]), len(entered), {n: one["dns"] for n, one in entered.items() if one["dns"]},
        {n: one["tcp"] for n, one in entered.items() if one["tcp"]},
        {n: one["entered"] for n, one in answer["asked"].items() if "entered" in one})


def told_of(line: Mapping[str, Any], ids: Collection[int | str]) -> dict[str, Any]:
    """Return what a line of `reach` tells, of the forms that it may have: each part by name, other parts left out.

    Of tries only those of `ids` are taken, which the host was asked for. ValueError where a part has another form.
    """
    try:
        told = {name: read(line[name]) for name, read in _TOLD.items() if name in line}
        if "tried" in told and told["tried"]["id"] not in ids:
            raise ValueError("it was not asked for that")
    except (KeyError, TypeError, AttributeError) as fault:
        raise ValueError(f"{type(fault).__name__}: {fault}") from fault
    return told


def _is(value: Any, *kinds: type) -> Any:
    if type(value) not in kinds:        # a bool is an int, and no number
        raise ValueError(f"{str(value)[:40]!r} is no {kinds[0].__name__}")
    return value


def _each(values: Any, *kinds: type) -> list[Any]:
    return [_is(value, *kinds) for value in _is(values, list)]


def _row(values: Any, *kinds: type) -> list[Any]:
    return [_is(value, kind) for value, kind in zip(_is(values, list), kinds, strict=True)]


def _tried_of(answer: Any) -> dict[str, Any]:
    told = {"id": _is(answer["id"], int, str), "ok": _is(answer["ok"], bool),
            "ms": _each(answer.get("ms", []), float, int), "lost": _is(answer.get("lost", 0), int),
            "of": _is(answer.get("of", 0), int), "passes": _is(answer.get("passes"), int, type(None))}
    return told if told["ok"] else {**told, "why": _is(answer["why"], str)}


def _look_of(read: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    return lambda answer: {"unseen": _is(answer["unseen"], str)} if "unseen" in answer else read(answer)


def _server_of(answer: Any) -> dict[str, Any]:
    came = {"why": _is(answer["why"], str)} if "why" in answer else {"seconds": _is(answer["seconds"], float, int)}
    return {"server": _is(answer["server"], str), **came, "made_up": _each(answer.get("made_up", []), str),
            "wild": {name: _each(found, str) for name, found in answer.get("wild", {}).items()}}


_TOLD: Mapping[str, Callable[[Any], Any]] = {
    "tried": _tried_of, "all": bool,
    "listening": lambda rows: [_row(row, str, int, str) for row in _is(rows, list)],
    "vrrp": lambda rows: [_row(row, str, int, bool, int) for row in _is(rows, list)],
    "arp": _look_of(lambda seen: {"also": _each(seen["also"], str)}),
    "fsync": _look_of(lambda seen: {**{name: _is(value, float, int) for name, value in seen.items()},
                                    **{name: seen[name] for name in ("samples", "p50", "p99")}}),
    "dns": _look_of(lambda seen: {"servers": [_server_of(one) for one in _is(seen.get("servers", []), list)],
                                  "behind": _each(seen.get("behind", []), str)}),
}
