"""What pydantic says against the schema, told in the words of the file: place, key, and what to write instead."""

from __future__ import annotations

from difflib import get_close_matches
from ipaddress import IPv4Network
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from provisioner.model.cluster import Cluster, HostSpec
from provisioner.model.document import Document, Fault, Path

_KINDS = {dict: "a mapping", list: "a list", bool: "true or false", int: "a number", float: "a number",
          str: "text", type(None): "empty"}
_WANTED = {"string_type": "text", "int_type": "a whole number", "bool_type": "true or false", "dict_type": "a mapping",
           "model_type": "a mapping", "model_attributes_type": "a mapping", "tuple_type": "a list",
           "int_from_float": "a whole number"}
_FULL_VERSION = 'a full version in quotes, such as "1.36.3"'
_PATTERNS = {
    "kubernetes": f"must be {_FULL_VERSION}",
    "name": "a name is lower-case letters, digits and `-`, at most 63, and begins and ends with a letter or digit",
}
_LIMITS = {
    "too_short": ("min_length", "needs at least {limit}"),
    "too_long": ("max_length", "takes at most {limit} for now"),
    "greater_than_equal": ("ge", "must be {limit} or more, is {value}"),
    "less_than_equal": ("le", "must be {limit} or less, is {value}"),
}
_OTHER_NAMES = {"master": "control-plane", "controller": "control-plane", "server": "control-plane",
                "agent": "worker", "node": "worker", "lb": "load-balancer", "loadbalancer": "load-balancer"}


def schema_faults(err: ValidationError, document: Document) -> list[Fault]:
    """Return every schema fault at its place in the file."""
    faults = []
    for error in err.errors(include_url=False):
        path = tuple(part for part in error["loc"] if part != "[key]")
        if error["type"] == "too_short" and error["input"]:
            continue  # items were faulty, not absent; they have faults of their own
        on_key = error["type"] == "extra_forbidden" or error["loc"][-1:] == ("[key]",)
        faults.append(Fault(document.mark(path, key=on_key), path, _message(error, path, document)))
    return faults


def did_you_mean(word: str, known: list[str]) -> str:
    """Return `; did you mean ...?` for what other tools call it or for the closest known word, else nothing."""
    other = _OTHER_NAMES.get(word)
    close = [other] if other in known else get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean `{close[0]}`?" if close else ""


def _message(error: ErrorDetails, path: Path, document: Document) -> str:
    kind, value = error["type"], error["input"]
    if kind == "extra_forbidden":
        return _unknown_key(path)
    if kind == "missing":
        return "this key is missing"
    if kind == "string_type" and path == ("kubernetes",):
        return f"YAML reads this as {_KINDS.get(type(value), 'something else')}: write {_FULL_VERSION}"
    if kind in _WANTED:
        return _wrong_type(kind, value, document.raw.get(path))
    if kind in ("literal_error", "enum"):
        return _not_one_of(error, value, document.raw.get(path))
    if kind == "string_pattern_mismatch":
        return _PATTERNS["kubernetes" if path == ("kubernetes",) else "name"]
    if kind == "value_error":
        return _not_an_address(str(value))
    if kind in _LIMITS:
        name, text = _LIMITS[kind]
        return text.format(limit=error.get("ctx", {})[name], value=value)
    return error["msg"]


def _wrong_type(kind: str, value: Any, raw: str | None) -> str:
    wanted, seen = _WANTED[kind], _KINDS.get(type(value), "something else")
    if wanted == "text" and raw:
        return f'must be text, YAML reads it as {seen}: write "{raw}"'
    if wanted == "a list" and isinstance(value, str):
        return f"must be a list: write [{value}]"
    if wanted in ("a whole number", "true or false") and isinstance(value, str):
        return f"must be {wanted}, is text: write it without quotes" if _fits(wanted, value) else \
            f"must be {wanted}, is `{value}`"
    return f"must be {wanted}, is {seen}"


def _fits(wanted: str, value: str) -> bool:
    return value.isdigit() if wanted == "a whole number" else value in ("true", "false")


def _not_one_of(error: ErrorDetails, value: Any, raw: str | None) -> str:
    expected = str(error.get("ctx", {}).get("expected", ""))
    known = [word.strip("' ") for word in expected.replace(" or ", ", ").split(",")]
    seen = raw if raw is not None else _KINDS.get(type(value), "something else")
    text = f"must be {known[0]}" if len(known) == 1 else f"must be one of {', '.join(known)}"
    return f"{text}; is `{seen}`{did_you_mean(str(value), known)}"


def _not_an_address(value: str) -> str:
    if "/" not in value:
        return f"`{value}` is not an IPv4 address"
    try:
        network = IPv4Network(value, strict=False)
    except ValueError:
        return f"`{value}` is not an IPv4 network such as 10.0.0.0/24"
    return f"`{value}` has host bits set: write {network}"


def _unknown_key(path: Path) -> str:
    known = _known_keys(path[:-1])
    close = did_you_mean(str(path[-1]), known)
    return f"unknown key{close}" if close else f"unknown key; known here: {', '.join(known)}"


def _known_keys(path: Path) -> list[str]:
    """Return the keys of the section at `path`, found by walking the model the way the file does."""
    model: type[BaseModel] = Cluster
    for part in path:
        if model is Cluster and part == "hosts":
            continue
        field = model.model_fields.get(str(part)) if isinstance(part, str) else None
        if field is not None:
            model = _section(field.annotation) or model
        elif model is Cluster:
            model = HostSpec  # the name of a host
    return list(model.model_fields)


def _section(annotation: Any) -> type[BaseModel] | None:
    """Return the section that a field holds, also inside a tuple or an optional."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _section(inner)
        if found is not None:
            return found
    return None
