"""Whether one value of `config:` is of the kind that a flag or a field takes; each fault says what it must be.

Kinds are the words of provisioner/model/takes: `int`, `count`, `float`, `bool`, `duration`, `text`, `ip`, `list`,
`pairs`, `ports`, `quantity`, `interval`, `enum:A,B`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, ip_address
from typing import Any

_DURATION = re.compile(r"[-+]?(0|((\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h))+)")
_QUANTITY = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][-+]?\d+)?")
_PAIR = re.compile(r"[^=,\s]+=[^,]*")
_PORTS = re.compile(r"(\d{1,5})-(\d{1,5})")
_HAPROXY_TIME = re.compile(r"[1-9]\d{0,8}(us|ms|s|m)?")
_INTERVAL = re.compile(r"[1-9]\d{0,3}(m|h|d)")
_LONGEST = 60


def shown(value: Any) -> str:
    """Return a value as a message names it: escaped, cut, as YAML would write it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "`true`" if value else "`false`"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = escaped(str(value))
    return f"`{text if len(text) <= _LONGEST else text[:_LONGEST - 1] + '…'}`"


def escaped(text: str) -> str:
    """Return `text` with everything that a terminal would not show as it is written out: `a\\nb`."""
    return "".join(c if c.isprintable() and c != "\\" else c.encode("unicode_escape").decode() for c in text)


def unprintable(value: Any) -> str:
    """Return the first text within `value` that holds a control or invisible character, escaped; else nothing."""
    if isinstance(value, Mapping):
        return next((bad for pair in value.items() for part in pair if (bad := unprintable(part))), "")
    if isinstance(value, list | tuple):
        return next((bad for part in value if (bad := unprintable(part))), "")
    return escaped(value) if isinstance(value, str) and not value.isprintable() else ""


def flag_fault(kind: str, value: Any) -> str:
    """Return what is wrong with a flag's value, or nothing; a flag may be given as text, whatever its kind."""
    if isinstance(value, Mapping):
        return "a flag takes no mapping: write it as text, such as A=true,B=false"
    if isinstance(value, list):
        if kind not in ("list", "pairs", "gates", "text"):
            return f"must be {_WANTED.get(kind, kind)}, is a list"
        odd = [item for item in value if isinstance(item, Mapping | list) or item is None]
        return f"must be a list of texts, has {shown(odd[0])} in it" if odd else ""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if kind.startswith("enum:"):
        return _not_among(kind, text)
    fits = _OF_TEXT.get(kind)
    return f"must be {_WANTED[kind]}, is {shown(value)}" if fits and not fits(text) else ""


def field_fault(kind: str, value: Any) -> str:
    """Return what is wrong with the value of a field of a configuration file, or nothing; its type must be right."""
    if kind.startswith("enum:"):
        return _not_among(kind, value) if isinstance(value, str) else f"must be text, is {shown(value)}"
    wrong = f"must be {_WANTED[kind]}, is {shown(value)}"
    if kind in _OF_TYPE:
        return "" if _OF_TYPE[kind](value) else wrong + _quotes(kind, value)
    if not isinstance(value, str):
        return wrong + _quotes(kind, value)
    return "" if _OF_TEXT[kind](value) else wrong


def _quotes(kind: str, value: Any) -> str:
    if isinstance(value, str) and kind in _OF_TEXT and _OF_TEXT[kind](value):
        return ": write it without quotes"
    if isinstance(value, int | float) and not isinstance(value, bool) and kind in ("text", "duration", "quantity-text"):
        return f': write "{value}s", or what unit you mean' if kind == "duration" else f': write "{value}"'
    return ""


def _not_among(kind: str, value: str) -> str:
    values = kind.removeprefix("enum:").split(",")
    return "" if value in values else f"must be one of {', '.join(v for v in values if v)}; is {shown(value)}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_float(text: str) -> bool:
    return re.fullmatch(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?", text) is not None


def _is_range(text: str) -> bool:
    found = _PORTS.fullmatch(text)
    return found is not None and 1 <= int(found[1]) <= int(found[2]) <= 65535


def upstream_fault(value: Any) -> str:
    """Return why CoreDNS cannot ask `value`, or nothing."""
    if not isinstance(value, str):
        return f"must be the address of a DNS server, is {shown(value)}"
    if value == "/etc/resolv.conf":
        return ""
    host, _, port = value.removeprefix("tls://").removeprefix("dns://").partition(":")
    try:
        address = IPv4Address(host)
    except ValueError:
        return f"must be the address of a DNS server, ADDRESS or ADDRESS:PORT, or /etc/resolv.conf; is {shown(value)}"
    if value.endswith(":") or (port and not (port.isdigit() and 1 <= int(port) <= 65535)):
        return f"{shown(value)} has no port that can be"
    if address.is_loopback or address.is_unspecified or address.is_multicast:
        return f"{address} is the Pod itself, or nobody: CoreDNS would ask itself and end"
    return ""


def pairs(value: Any) -> list[tuple[str, str]]:
    """Return the `name=value` pairs of a flag that has passed `flag_fault`, an absent sign as an empty value."""
    items = value if isinstance(value, list) else str(value).split(",")
    return [(name.strip(), text.strip()) for item in items for name, _, text in (str(item).partition("="),) if item]


_WANTED = {"bool": "true or false", "int": "a whole number", "count": "a whole number, 0 or more",
           "float": "a number", "duration": "a duration such as 30s",
           "text": "text", "ip": "an IP address", "list": "text or a list of texts", "ports": "FIRST-LAST, two ports",
           "pairs": "NAME=VALUE,NAME=VALUE", "gates": "GATE=true,GATE=false", "quantity": "a quantity such as 500Mi",
           "quantity-text": "a quantity in quotes such as \"500Mi\"",
           "haproxy-time": "a time such as 1s or 500ms", "interval": "how often, such as 30m, 6h or 1d",
           "upstream": "an address"}
_OF_TEXT: Mapping[str, Callable[[str], bool]] = {
    "bool": lambda text: text in ("true", "false"),
    "int": lambda text: re.fullmatch(r"-?\d+", text) is not None,
    "count": lambda text: re.fullmatch(r"\d+", text) is not None,
    "float": _is_float,
    "duration": lambda text: _DURATION.fullmatch(text) is not None,
    "text": lambda text: True,
    "ip": _is_ip,
    "ports": _is_range,
    "pairs": lambda text: all(_PAIR.fullmatch(part) for part in text.split(",")),
    "gates": lambda text: all(re.fullmatch(r"(\w+:)?\w+=(true|false)", part.strip()) for part in text.split(",")),
    "quantity": lambda text: _QUANTITY.fullmatch(text) is not None,
    "quantity-text": lambda text: _QUANTITY.fullmatch(text) is not None,
    "interval": lambda text: _INTERVAL.fullmatch(text) is not None,
    "haproxy-time": lambda text: _HAPROXY_TIME.fullmatch(text) is not None,
}
_OF_TYPE: Mapping[str, Callable[[Any], bool]] = {
    "bool": lambda value: isinstance(value, bool),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "float": _is_number,
    "quantity": lambda value: _is_number(value) or (isinstance(value, str) and bool(_QUANTITY.fullmatch(value))),
}
