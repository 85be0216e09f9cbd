"""Templates to text: the only place that knows Jinja2, and the only files that compile reads."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from provisioner.model.paths import data_dir

Flags = Mapping[str, Any]
_CONTROL = re.compile(r"[\x01-\x1f\x7f]")

# The C parser where PyYAML has it: five hundred hosts have five hundred kubelet configurations.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PLAIN_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
# What no reader takes for anything but text: PyYAML knows YAML 1.1 only, and Kubernetes' reader also 1e3 and 0o17.
_PLAIN = re.compile(r"[A-Za-z/_][A-Za-z0-9/_.:-]*[A-Za-z0-9/_.-]")
_WORDS = frozenset({"on", "off", "yes", "no", "true", "false", "null"})


class _Dumper(_PLAIN_DUMPER):  # type: ignore[misc]
    """Writes text so that a reader of YAML 1.1 and one of 1.2 see the same text."""


def _represent_text(dumper: Any, value: str) -> Any:
    plain = _PLAIN.fullmatch(value) and value.lower() not in _WORDS and ": " not in value
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if plain else '"')


_Dumper.add_representer(str, _represent_text)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    # No autoescape: these are configuration files, not HTML. StrictUndefined: a misspelt name must stop the run.
    environment = Environment(
        loader=FileSystemLoader(data_dir("templates")), undefined=StrictUndefined, autoescape=False,  # noqa: S701
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
        auto_reload=False)      # else every rendering asks the disk whether its template has changed
    environment.filters |= {"text": _text, "number": _number, "word": _word, "sh": _sh, "unit": _unit}
    return environment


def _text(value: object) -> str:
    """Return `value` in double quotes, as YAML, JSON and TOML all read it: `on`, `123` and `~` stay text."""
    return json.dumps(str(value))


def _sh(value: object) -> str:
    """Return `value` as one word for a shell."""
    return shlex.quote(str(value))


def _unit(value: object) -> str:
    """Return `value` as one word of a systemd unit."""
    return systemd_word(str(value))


def _number(value: object) -> str:
    """Return a whole number; ValueError for anything else, for it would be something else to a reader too."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{value!r} is not a whole number")
    return str(value)


def _word(value: object) -> str:
    """Return `value` where a format has no quotes; ValueError where it would end there before its end."""
    text = str(value)
    if not text.isprintable() or not text or set(text) & set(" {}\"'\\#"):
        raise ValueError(f"{text!r} is not one word")
    return text


def render(path: str, **values: Any) -> str:
    """Return the text of the template for the host path `path`; a value that the template lacks is an error."""
    return _environment().get_template(f"{path.lstrip('/')}.j2").render(**values)


@lru_cache(maxsize=64)
def verbatim(path: str) -> str:
    """Return a file of templates/ as it is: for what is a program and no template."""
    return (data_dir("templates") / path.lstrip("/")).read_text(encoding="utf-8")


def merged(text: str, overrides: Mapping[str, Any], form: str = "yaml") -> str:
    """Return the YAML or JSON `text` with `overrides` laid over it, in `form`; equal input is computed once."""
    return _merged(text, json.dumps(overrides, sort_keys=True), form)


@lru_cache(maxsize=256)
def _merged(text: str, overrides: str, form: str) -> str:
    body = overlay(yaml.load(text, Loader=_LOADER), json.loads(overrides))  # noqa: S506 - a safe loader
    if form == "json":
        return json.dumps(body, indent=2) + "\n"
    return str(yaml.dump(body, Dumper=_Dumper, sort_keys=False, default_flow_style=False))


def overlay(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `over` on top: mappings merge, all else replaces, null takes a key away."""
    result = dict(base)
    for key, value in over.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = overlay(result[key], value)
        else:
            result[key] = value
    return result


def documents(path: str, **values: Any) -> list[dict[str, Any]]:
    """Return the Kubernetes objects of templates/manifests/`path`."""
    return [d for d in yaml.load_all(render(f"manifests/{path}", **values), Loader=_LOADER) if d]


def command_line(program: str, flags: Flags) -> str:
    """Return `program` with `flags`, one a line, quoted for a systemd unit; a flag whose value is null is left out."""
    args = [systemd_word(f"--{name}={_flag_value(value)}") for name, value in flags.items() if value is not None]
    return " \\\n    ".join([program, *args])


def variables_unset(prefix: str, flags: Iterable[str]) -> str:
    """Return a unit's line that takes away the variables by which a program reads `flags` as well."""
    names = " ".join(f"{prefix}_{flag.upper().replace('-', '_')}" for flag in flags)
    return f"UnsetEnvironment={names}"


def _flag_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ",".join(_flag_value(v) for v in value)
    return str(value)


def systemd_word(word: str) -> str:
    """Return `word` so that systemd reads exactly it: no specifier, no variable, no splitting, no end of the line."""
    safe = word.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$")
    safe = _CONTROL.sub(lambda sign: f"\\x{ord(sign[0]):02x}", safe)
    if any(c in safe for c in " \t\"';") or safe != word:
        safe = '"' + safe.replace('"', '\\"') + '"'
    return safe
