"""Values of `config:` that do not go together: the program would say so when it starts, and end."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from provisioner.model.components import ELECTED
from provisioner.model.document import Path

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
Faults = Iterator[tuple[Path, str]]


def beside_each_other(component: str, values: Mapping[str, Any]) -> Faults:
    """Yield the faults between values of one component; what is not set counts with its default."""
    flags = values.get("flags")
    if isinstance(flags, Mapping):
        if component == "etcd":
            yield from _elections(flags)
        if component in ELECTED:
            yield from _lease(flags)
    if component == "kubelet":
        yield from _kubelet(values)


def laid_over(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return a component's values for one host: its own on top of the cluster's; null takes one away."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        result[key] = laid_over(below or {}, value) if both else value
        if value is None:
            del result[key]
    return result


def _elections(flags: Mapping[str, Any]) -> Faults:
    beat, wait = _number(flags, "heartbeat-interval", 100), _number(flags, "election-timeout", 1000)
    if beat and wait and wait < 5 * beat:
        name = "election-timeout" if "election-timeout" in flags else "heartbeat-interval"
        yield ("flags", name), f"election-timeout, {wait:g} ms, must be at least five times heartbeat-interval, " \
            f"{beat:g} ms"


def _lease(flags: Mapping[str, Any]) -> Faults:
    names = ("leader-elect-lease-duration", "leader-elect-renew-deadline", "leader-elect-retry-period")
    lease, renew, retry = (_seconds(flags.get(name, default)) for name, default in zip(
        names, ("15s", "10s", "2s"), strict=True))
    name = next((n for n in names if n in flags), "")
    if not name or lease is None or renew is None or retry is None:
        return
    if lease <= renew:
        yield ("flags", name), f"{names[0]}, {lease:g} s, must be longer than {names[1]}, {renew:g} s"
    elif renew <= 1.2 * retry:
        yield ("flags", name), f"{names[1]}, {renew:g} s, must be longer than 1.2 times {names[2]}, {retry:g} s"


def _kubelet(values: Mapping[str, Any]) -> Faults:
    low, high = _number(values, "imageGCLowThresholdPercent", 80), _number(values, "imageGCHighThresholdPercent", 85)
    if low is not None and high is not None and low >= high and high <= 100:
        name = "imageGCLowThresholdPercent" if "imageGCLowThresholdPercent" in values else "imageGCHighThresholdPercent"
        yield (name,), f"imageGCLowThresholdPercent, {low:g}, must be less than imageGCHighThresholdPercent, {high:g}"
    soft, grace = values.get("evictionSoft"), values.get("evictionSoftGracePeriod")
    if isinstance(soft, Mapping):
        for signal in soft:
            if not isinstance(grace, Mapping) or signal not in grace:
                yield ("evictionSoft", signal), f"{signal} needs its time in evictionSoftGracePeriod"
    whole, critical = (_seconds(values.get(name, "0s")) for name in (
        "shutdownGracePeriod", "shutdownGracePeriodCriticalPods"))
    if whole is not None and critical is not None and critical > whole:
        yield ("shutdownGracePeriodCriticalPods",), "it is a part of shutdownGracePeriod, and longer than that"
    if values.get("cpuManagerPolicy") == "static" and not _some_processor(values):
        yield ("cpuManagerPolicy",), "static needs processors that are set aside: reservedSystemCPUs, or cpu in " \
            "systemReserved or kubeReserved"


def _some_processor(values: Mapping[str, Any]) -> bool:
    reserved = (values.get("systemReserved"), values.get("kubeReserved"))
    return bool(values.get("reservedSystemCPUs")) or any(isinstance(r, Mapping) and r.get("cpu") for r in reserved)


def _number(values: Mapping[str, Any], name: str, default: float) -> float | None:
    """Return a number, or None for what is none and has a fault of its own."""
    value = values.get(name, default)
    if value is None:
        return default
    return float(value) if re.fullmatch(r"\d{1,18}", str(value)) else None


def _seconds(value: Any) -> float | None:
    parts = re.findall(r"(\d+(?:\.\d*)?)(ns|us|µs|ms|s|m|h)", str(value))
    return sum(float(number) * _UNITS[unit] for number, unit in parts) if parts or str(value) == "0" else None
