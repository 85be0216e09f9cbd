"""What the host's DNS servers say of names that nobody has: how fast, and whether they make something up."""

from __future__ import annotations

import os
import threading
import time
from typing import Any, Mapping, Optional

from . import dns, resolver
from .host import Fault, Host

TIMES = 2               # questions to each server that is slow; the quicker answer counts
TIMEOUT = 5.0           # seconds for each, as glibc waits: resolv.conf(5)
GOOD = 0.5              # seconds; such an answer needs no second question
DOMAINS, OF_DOMAIN = 6, 1.0     # that are asked for, the first ones, and seconds for each: glibc's limit of old
TOGETHER = 12.0         # seconds for all questions to one server: who asks waits for 15
SERVERS = 3             # glibc asks no more: resolv.conf(5)


def look(host: Host, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the servers with what each said of a name below `.invalid` (RFC 6761: there is none), and of one in each
    search domain.
    """
    text = host.text(resolver.RESOLV_CONF) or ""
    servers = resolver.servers(text)[:SERVERS]
    stub = host.text(resolver.BEHIND_THE_STUB) or "" if any(s.startswith("127.") for s in servers) else ""
    domains = [domain.strip(".") for domain in resolver.search(text) if domain.strip(".")]
    answers: dict[str, dict[str, Any]] = {}

    def ask(server: str) -> None:
        answers[server] = _asked(server, domains)

    threads = [threading.Thread(target=ask, args=(server,), daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lost = {"why": "it could not be asked"}
    return {"servers": [{"server": server, **answers.get(server, lost)} for server in servers],
            "behind": resolver.servers(stub)}


def _asked(server: str, domains: list[str]) -> dict[str, Any]:
    took: Optional[float] = None
    until = time.monotonic() + TOGETHER
    why, made_up = "", []
    for _ in range(TIMES):
        began = time.monotonic()
        try:
            made_up = _addresses(server, f"{_label()}.invalid", TIMEOUT)
            took = min(took or TIMEOUT, time.monotonic() - began)
            if took < GOOD:
                break
        except (OSError, Fault, ValueError) as fault:
            why = str(fault)
            break
    if took is None:
        return {"why": why}
    wild = {}
    for domain in domains[:DOMAINS]:
        if time.monotonic() > until:
            break
        try:
            wild[domain] = _addresses(server, f"{_label()}.{domain}", OF_DOMAIN)
        except (OSError, Fault, ValueError):    # it answers others; of this domain (not in ASCII?) nothing is known
            continue
    return {"seconds": round(took, 3), "made_up": made_up, "wild": {d: found for d, found in wild.items() if found}}


def _addresses(server: str, name: str, timeout: float) -> list[str]:
    """Return what the server says; that there is no such name is an answer as well."""
    try:
        return dns.ask(server, name, timeout)
    except Fault as fault:
        if str(fault).startswith("rcode"):      # NXDOMAIN, SERVFAIL, REFUSED: an answer, and nothing made up
            return []
        raise


def _label() -> str:
    return f"kubewright-{os.urandom(6).hex()}"
