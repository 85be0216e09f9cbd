"""Fetches one module from the Go proxies that this machine uses, for a machine that has no Go to do it.

The proxies are found as Go finds them: $GOPROXY, Go's settings file, Go's own default.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from provisioner.artifacts import web
from provisioner.errors import PreflightRefused, of_full_disk

_DEFAULT = "https://proxy.golang.org,direct"
_ANSWER_WITHIN = 30.0               # until the next bytes
_DEADLINE = 900.0                   # of one proxy; 72 MB took 11 s from a near one
_AT_MOST = 500 << 20                # Go's own bound of a module's zip
_CHUNK = 1 << 20

Progress = Callable[[str], None]


def setting(environment: Mapping[str, str] = os.environ) -> str:
    """Return GOPROXY: of the environment, of Go's settings file (`go env -w`), or what Go takes by itself."""
    if environment.get("GOPROXY"):
        return environment["GOPROXY"]
    config = environment.get("XDG_CONFIG_HOME") or "~/.config"
    file = Path(environment.get("GOENV") or f"{config}/go/env").expanduser()
    try:
        found = re.search(r"^GOPROXY=(.+)$", file.read_text(encoding="utf-8"), re.M)
    except (OSError, UnicodeDecodeError):
        return _DEFAULT
    return found.group(1).strip() if found else _DEFAULT


def proxies(text: str) -> Iterator[tuple[str, bool]]:
    """Give each proxy of a GOPROXY, and whether the next is asked after any fault, not only where this one lacks it."""
    for url, separator in re.findall(r"([^,|]+)([,|]?)", text):
        if url.strip():
            yield url.strip().rstrip("/"), separator == "|"


def fetch_module(module: str, version: str, target: Path, progress: Progress, text: str | None = None) -> None:
    """Write a module's zip to `target`; PreflightRefused with what each proxy answered where none gives it."""
    saw = []
    for url, after_any in proxies(setting() if text is None else text):
        if url == "off":
            saw.append("off: GOPROXY forbids it")
            break
        if url == "direct":
            saw.append("direct: a toolchain comes from a proxy only")
            continue
        try:
            _download(f"{url}/{module}/@v/{version}.zip", target, lambda done: progress(
                f"fetching {module} {version}: {done >> 20} MB"))
            return
        except web.FAULTS as fault:
            full = of_full_disk(fault, PreflightRefused)
            if full is not None:
                raise full from None        # which is no proxy's fault
            saw.append(f"{web.shown(url)}: {web.reason(fault)}")
            if not (after_any or web.is_not_there(fault)):
                break
    raise PreflightRefused(f"this machine: fetch {module} {version}: no proxy of GOPROXY gives it", code="toolchain",
                           details=saw, hint="export GOPROXY=ADDRESS of one that does")


def _download(url: str, target: Path, progress: Callable[[int], None]) -> None:
    start, done = time.monotonic(), 0
    address, opener = web.opener(url)
    with opener.open(address, timeout=_ANSWER_WITHIN) as answer, target.open("wb") as file:
        length = answer.headers.get("Content-Length")
        while chunk := answer.read(_CHUNK):
            done += file.write(chunk)
            progress(done)
            if done > _AT_MOST:
                raise ValueError(f"more than {_AT_MOST >> 20} MB")
            if time.monotonic() - start > _DEADLINE:
                raise TimeoutError(f"not done in {_DEADLINE:.0f} s")
    if length is not None and done != int(length):
        raise ValueError(f"ended after {done} of {length} bytes")
