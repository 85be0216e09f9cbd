"""Can the packages that a host lacks be had there? Asked of its own lists and of the sites behind them; no change."""

from __future__ import annotations

import os
import socket
import threading
from typing import Any, Sequence
from urllib.parse import SplitResult, unquote, urlsplit

from . import managers
from .host import Host

PORTS = {"http": 80, "https": 443, "ftp": 21}
FILES = ("file", "copy")
CONNECT_SECONDS = 3.0
ENVIRONMENT = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")


def look(host: Host, names: Sequence[str], proxied: bool = False) -> dict[str, Any]:
    """Answer which packages are missing, whether the lists know all of them, and what is wrong with their sites.

    `removes` are the packages that would go for them. `proxied`: a proxy will be told that is not known there yet.
    Where the lists do not know them, the sites are those that the lists come from.
    """
    manager = managers.of(host)
    there = manager.states(host, names)
    missing = [name for name in names if there.get(name, ("", ""))[0] != "installed"]
    if not missing:
        return {"missing": [], "listed": True, "sites": {}, "removes": []}
    would = manager.would_install(host, missing)
    places = manager.sources(host) if would is None else would.fetches
    return {"missing": missing, "listed": would is not None,
            "sites": _judge(host, places, proxied or manager.proxied(host)),
            "removes": [] if would is None else would.removes}


def _judge(host: Host, places: Sequence[str], proxied: bool) -> dict[str, str]:
    """Return for each site what is wrong with it, empty where nothing is or we cannot tell."""
    sites = {site_of(place): _split(place) for place in places}
    if proxied or any(os.environ.get(name) for name in ENVIRONMENT):
        return {site: "" for site in sites}         # whoever goes through a proxy needs no way of its own
    found: dict[str, str] = {site: f"no answer in {CONNECT_SECONDS:g} s" for site in sites}

    def ask(site: str) -> None:
        found[site] = _fault(host, sites[site])

    threads = [threading.Thread(target=ask, args=(site,), daemon=True) for site in sites]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(CONNECT_SECONDS + 0.5)          # a resolver without an answer takes longer than any connection
    return dict(found)


def site_of(place: str) -> str:
    """Return the part of an address that decides whether anybody answers: of a file its directory, for a list that is
    optional (of translations, or packed in another way) may not be in it.
    """
    parts = _split(place)
    if parts.scheme in FILES:
        return f"{parts.scheme}:{_directory(parts)}"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else f"{parts.scheme}:"


def _split(place: str) -> SplitResult:
    try:
        return urlsplit(place)
    except ValueError:          # cdrom://[Debian GNU/Linux 12 _Bookworm_]/ has no host
        return SplitResult(place.partition(":")[0], "", "", "", "")


def _directory(parts: SplitResult) -> str:
    return os.path.normpath(os.path.dirname(unquote(parts.path)))


def _fault(host: Host, parts: SplitResult) -> str:
    if parts.scheme == "cdrom":
        return "a medium that somebody would have to put in"
    if parts.scheme in FILES:
        return "" if os.path.isdir(host.at(_directory(parts))) else "no such directory"
    if parts.scheme not in PORTS or not parts.hostname:
        return ""
    try:
        socket.create_connection((parts.hostname, parts.port or PORTS[parts.scheme]), CONNECT_SECONDS).close()
    except socket.gaierror:
        return "the name does not resolve"
    except OSError as error:
        return (os.strerror(error.errno) if error.errno else f"no answer in {CONNECT_SECONDS:g} s").lower()
    return ""
