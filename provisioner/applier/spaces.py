"""What is reached from within network namespaces of this host: a name server, a port; each asked by a thread in there.

A thread that enters a namespace is the only one in it, and nothing in there is changed. On a node these are its Pods':
what they meet on their way out, the host's own packets do not.
"""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from typing import Any, Mapping

from . import dns
from .host import Fault, Host

PLACE = "/run/netns"
CLONE_NEWNET = 0x40000000       # linux/sched.h
AT_ONCE = 5                     # namespaces that are asked; the others of a host go the same way
ATTEMPT = 1.0
ATTEMPTS = 2                    # UDP may lose one


def look(host: Host, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Ask from within the namespaces whose names begin with `names`: does `server` know `query`, does `tcp` connect?

    The answer has how many were asked, and why not for each that was not answered.
    """
    try:
        there = sorted(n for n in os.listdir(host.at(PLACE)) if n.startswith(str(wanted["names"])))
    except OSError:
        there = []
    results: dict[str, dict[str, str]] = {}
    threads = [threading.Thread(target=_within, args=(host.at(f"{PLACE}/{name}"), name, wanted, results), daemon=True)
               for name in there[:AT_ONCE]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * ATTEMPT * (ATTEMPTS + 1))
    told = {name: results.get(name, {"entered": "no answer in time"}) for name in there[:AT_ONCE]}
    return {"there": len(there), "asked": told}


def _within(path: str, name: str, wanted: Mapping[str, Any], results: dict[str, dict[str, str]]) -> None:
    try:
        _enter(path)
    except OSError as fault:
        results[name] = {"entered": str(fault)}
        return
    results[name] = {"dns": _dns(wanted), "tcp": _tcp(wanted)}


def _enter(path: str) -> None:
    """Move this thread, and no other, into a network namespace."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(descriptor, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        os.close(descriptor)


def _dns(wanted: Mapping[str, Any]) -> str:
    """Say why the name is not known; empty where it is."""
    why = ""
    for _ in range(ATTEMPTS):
        try:
            found = dns.ask(wanted["server"], wanted["query"], ATTEMPT)
        except (OSError, Fault) as fault:
            why = str(fault)
            continue
        return "" if wanted["answer"] in found else f"{wanted['query']} is {', '.join(found) or 'nothing'}"
    return why


def _tcp(wanted: Mapping[str, Any]) -> str:
    address, port = wanted["tcp"]
    try:
        socket.create_connection((address, int(port)), ATTEMPT * ATTEMPTS).close()
    except OSError as fault:
        return str(fault)
    return ""
