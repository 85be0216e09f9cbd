"""What pydantic says against the schema, told in the words of the file: place, key, and what to write instead."""

from __future__ import annotations

from difflib import get_close_matches
from ipaddress import ip_interface
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from provisioner.model.characters import lookalike
from provisioner.model.cluster import Cluster, HostSpec
from provisioner.model.document import Document, Fault, Path

_KINDS = {dict: "a mapping", list: "a list", bool: "true or false", int: "a number", float: "a number",
          str: "text", type(None): "empty"}
_WANTED = {"string_type": "text", "int_type": "a whole number", "bool_type": "true or false", "dict_type": "a mapping",
           "model_type": "a mapping", "model_attributes_type": "a mapping", "tuple_type": "a list",
           "int_from_float": "a whole number"}
_NO_PASSWORDS = "keys let us in, and `--ask-become` asks for sudo's password, which stands nowhere"
_LOGINS = "a login never stands in this file: write `login: true`, and keep it with kubewright registry login"
_PASSWORDS = {"password", "pass", "sudo_password", "become_password", "become_pass", "ansible_password",
              "ansible_ssh_pass", "ansible_become_pass", "ansible_become_password"}
_THEIR_KEYS = {"ip": "address", "access_ip": "address", "privateaddress": "address", "ansible_user": "ssh.user",
               "ansible_ssh_user": "ssh.user", "ansible_port": "ssh.port", "ansible_ssh_private_key_file": "ssh.key",
               "role": "roles"}
_THEIR_HOSTS = {"ansible_host", "ansible_ssh_host"}
_SSH_TARGETS = {"address", "hostname", "ip"}
_TWO_PLACES = "`address` is where the cluster speaks, `ssh.host` where we log in, if that is elsewhere"
_OWN_NETWORK = "; none is for a Pod network of your own, which you apply when `up` has ended"
_FULL_VERSION = 'a full version in quotes, such as "1.36.3"'
_DOMAIN = ("network", "domain")
_PATTERNS = {
    "kubernetes": f"must be {_FULL_VERSION}",
    "name": "a name is lower-case letters, digits and `-`, at most 63, and begins and ends with a letter or digit",
    "host": "a name is lower-case letters, digits and `-`, or several such with dots between them, each at most 63 and "
            "with a letter or digit at both ends",
}
_LIMITS = {
    "too_short": ("min_length", "needs at least {limit}"),
    "too_long": ("max_length", "takes at most {limit}"),
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
        if path and isinstance(path[-1], int) and path not in document.values:
            path = path[:-1]    # the only address, which stands there without a list
        on_key = error["type"] == "extra_forbidden" or error["loc"][-1:] == ("[key]",)
        faults.append(Fault(document.mark(path, key=on_key), path, _message(error, path, document)))
    return faults


def did_you_mean(word: str, known: list[str]) -> str:
    """Return `; did you mean ...?` for what other tools call it or for the closest known word, else nothing.

    Of a word with a letter that only looks like one of ours, say which.
    """
    other = _OTHER_NAMES.get(word)
    if lookalike(word):
        return lookalike(word)      # what looks the same is no help
    close = [other] if other in known else get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean `{close[0]}`?" if close else ""


def _message(error: ErrorDetails, path: Path, document: Document) -> str:
    kind, value = error["type"], error["input"]
    if kind == "extra_forbidden":
        return _unknown_key(path)
    if kind == "missing":
        return "this key is missing"
    if kind == "string_type" and path == ("kubernetes",) and value is not None:
        return f"YAML reads this as {_KINDS.get(type(value), 'something else')}: write {_FULL_VERSION}"
    if kind in _WANTED:
        return _wrong_type(kind, value, path, document.raw.get(path))
    if kind in ("literal_error", "enum"):
        return _not_one_of(error, value, path, document.raw.get(path))
    if kind == "string_pattern_mismatch":
        full = path[:1] == ("hosts",) or path == _DOMAIN
        which = "kubernetes" if path == ("kubernetes",) else "host" if full else "name"
        return _PATTERNS[which] + lookalike(str(value))
    if kind == "value_error":
        return _not_an_address(str(value), path)
    if kind in _LIMITS:
        name, text = _LIMITS[kind]
        limit = error.get("ctx", {})[name]
        later = ": one of IPv4, and one of IPv6" if kind == "too_long" else ""
        return text.format(limit=limit, value=value) + later
    return error["msg"]


def _wrong_type(kind: str, value: Any, path: Path, raw: str | None) -> str:
    wanted, seen = _WANTED[kind], _KINDS.get(type(value), "something else")
    if value is None:
        return "is empty: a name is needed" if path == ("cluster",) else f"is empty: must be {wanted}"
    ranged = path[:1] == ("network",) and path != _DOMAIN
    if wanted == "text" and (_is_address(path) or ranged):
        return f"`{raw if raw is not None else seen}` is not an address" + (
            " range such as 10.0.0.0/24" if ranged else "")
    if wanted == "text" and raw:
        return f'must be text, YAML reads it as {seen}: write "{raw}"'
    if wanted == "a list" and isinstance(value, str):
        return f"must be a list: write [{value}]"
    if wanted in ("a whole number", "true or false") and isinstance(value, str):
        return f"must be {wanted}, is text: write it without quotes" if _fits(wanted, value) else \
            f"must be {wanted}, is `{value}`"
    return f"must be {wanted}, is {seen}"


def _is_address(path: Path) -> bool:
    return any(part in ("address", "vip") for part in path[1:])


def _fits(wanted: str, value: str) -> bool:
    return value.isdigit() if wanted == "a whole number" else value in ("true", "false")


def _not_one_of(error: ErrorDetails, value: Any, path: Path, raw: str | None) -> str:
    expected = str(error.get("ctx", {}).get("expected", ""))
    known = [word.strip("' ") for word in expected.replace(" or ", ", ").split(",")]
    seen = raw if raw is not None else _KINDS.get(type(value), "something else")
    if isinstance(value, str) and known == [value]:
        return f"must be the number {value}: write it without quotes"
    text = f"must be {known[0]}" if len(known) == 1 else f"must be one of {', '.join(known)}"
    if path[-1:] == ("become",):
        return f"{text}; is `{seen}`: {_NO_PASSWORDS}"
    close = did_you_mean(str(value), known)
    return f"{text}; is `{seen}`{close or (_OWN_NETWORK if path == ('network', 'plugin') else '')}"


def _not_an_address(value: str, path: Path) -> str:
    ranged = path[:1] == ("network",)
    try:
        seen = ip_interface(value)
    except ValueError:
        kind = "network such as 10.0.0.0/24" if ranged and "/" in value else "address"
        return f"`{value}` is not a{'n' if kind == 'address' else ''} {kind}{lookalike(value)}"
    if not ranged:
        return f"`{value}` is an address with the length of its network: write {seen.ip}"
    return f"`{value}` has host bits set: write {seen.network}"


def _unknown_key(path: Path) -> str:
    known, key = _known_keys(path[:-1]), str(path[-1])
    on_host, in_ssh = len(path) == 3 and path[0] == "hosts", "ssh" in path[:-1]
    if path[0] == "registries" and len(path) == 3 and key.lower() in (*_PASSWORDS, "username", "user", "auth"):
        return f"unknown key; {_LOGINS} {path[1]} --username NAME"
    if key.lower() in _PASSWORDS:
        return f"unknown key; {_NO_PASSWORDS}"
    if in_ssh and key in _SSH_TARGETS:
        return f"unknown key; did you mean `{'host' if 'host' in known else 'hosts.NAME.ssh.host'}`?"
    if path == ("ssh", "host"):
        return "unknown key; each host has its own: hosts.NAME.ssh.host"
    if on_host and key.lower() in _THEIR_HOSTS:
        return f"unknown key; {_TWO_PLACES}"
    theirs = _THEIR_KEYS.get(key.lower().replace("-", "_")) if on_host else None
    if theirs:
        return f"unknown key; did you mean `{theirs}`?"
    close = did_you_mean(key, known)
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
    return [field.alias or name for name, field in model.model_fields.items()]


def _section(annotation: Any) -> type[BaseModel] | None:
    """Return the section that a field holds, also inside a tuple or an optional."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _section(inner)
        if found is not None:
            return found
    return None
