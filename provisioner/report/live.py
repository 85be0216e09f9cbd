"""The page of `serve`: one document without anything of the cluster in it; its script asks for that with the token."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_HERE = Path(__file__).parent


@cache
def live_page() -> tuple[str, str]:
    """Return the page, and the policy that lets a browser run what stands in it and nothing else.

    A run's report is shown inside of it, under the same policy: its one style is among these.
    """
    environment = Environment(loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)
    run, own, script = (_digest(environment.get_template(n).render()) for n in ("run.css", "live.css", "live.js"))
    policy = (f"default-src 'none'; script-src '{script}'; style-src '{run}' '{own}'; connect-src 'self'; "
              "base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
    return environment.get_template("live.html.j2").render(), policy


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
