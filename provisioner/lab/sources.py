"""The machine's own Debian sources, so that the image comes from where this machine's packages come from."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

# What the machine itself is, and so what its entries name; other suites of Debian lie beside these.
SUITE = "bookworm"
_SUITES = frozenset({SUITE, f"{SUITE}-updates", f"{SUITE}-security"})
_KEYRING = "debian-archive"
# Only how packages travel may be taken over from the machine; nothing that changes what is installed.
_SETTINGS = ("Acquire::http::Proxy", "Acquire::https::Proxy", "Acquire::Check-Valid-Until", "Acquire::Check-Date",
             "Acquire::Retries")
_ONE_LINE = re.compile(r"^deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.+)$")


def _is_debian(suites: Iterable[str], components: Iterable[str], signed_by: str) -> bool:
    """Say whether an entry is Debian's own: its suites, its main component, its keyring (or apt's default one)."""
    return (set(suites) <= _SUITES and "main" in set(components) and (not signed_by or _KEYRING in signed_by))


def _stanzas(text: str) -> Iterable[str]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return (s.strip() for s in re.split(r"\n\s*\n", "\n".join(lines)) if s.strip())


def _fields(stanza: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in stanza.splitlines() if not line.startswith((" ", "\t")))
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def debian_stanzas(files: Mapping[str, str], suite: str = SUITE) -> tuple[str, ...]:
    """Return Debian's own entries of apt's source files (name -> text) as deb822 stanzas, no third party's.

    For another suite than the machine's they name that one in its place.
    """
    found: list[str] = []
    for name, text in sorted(files.items()):
        if name.endswith(".sources"):
            found += [s for s in _stanzas(text) if _accepts(_fields(s))]
        else:
            found += filter(None, (_from_line(line.strip()) for line in text.splitlines()))
    return tuple(dict.fromkeys(_of_suite(stanza, suite) for stanza in found))


def _of_suite(stanza: str, suite: str) -> str:
    return re.sub(r"(?m)^(Suites:.*)$", lambda line: line[0].replace(SUITE, suite), stanza)


def _accepts(fields: Mapping[str, str]) -> bool:
    return ("deb" in fields.get("types", "").split() and fields.get("enabled", "yes").lower() != "no"
            and _is_debian(fields.get("suites", "").split(), fields.get("components", "").split(),
                           fields.get("signed-by", "")))


def _from_line(line: str) -> str:
    match = _ONE_LINE.match(line.partition(" #")[0])
    if not match:
        return ""
    options = dict(o.split("=", 1) for o in (match["options"] or "").split() if "=" in o)
    signed_by = options.get("signed-by", "")
    if not _is_debian([match["suite"]], match["components"].split(), signed_by):
        return ""
    stanza = (f"Types: deb\nURIs: {match['uri']}\nSuites: {match['suite']}\nComponents: {match['components'].strip()}")
    return f"{stanza}\nSigned-By: {signed_by}" if signed_by else stanza


def read_source_files(root: Path = Path("/etc/apt")) -> dict[str, str]:
    """Return the texts of apt's source files by name; files that apt ignores (other endings) are ignored here too."""
    paths = [root / "sources.list", *(root / "sources.list.d").glob("*.list"),
             *(root / "sources.list.d").glob("*.sources")]
    return {p.name: p.read_text() for p in paths if p.is_file()}


def transport_settings(dump: str) -> tuple[str, ...]:
    """Return those lines of `apt-config dump` that say how packages travel (proxy, retries)."""
    lines = (line.strip() for line in dump.splitlines())
    return tuple(line for line in lines if line.split(" ")[0] in _SETTINGS and '""' not in line)


def read_transport_settings() -> tuple[str, ...]:
    """Return the machine's own transport settings; none where there is no apt."""
    try:
        done = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, timeout=30, check=False)
    except FileNotFoundError:
        return ()
    return transport_settings(done.stdout)
