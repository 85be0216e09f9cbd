"""The applier's reads, run in a lab node: what it sees and times, it sees and times on the host."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from provisioner.applier.package import argv, frame
from provisioner.compile import pki
from provisioner.model.ports import APISERVER
from tests.lab.machines import ADDRESSES, ROOTS, Lab

T = TypeVar("T")

HEALTHY = 60.0      # seconds in which all must be well again before the next fault

# Kills a unit's main process and waits until systemd has reaped it, so that no look can still see it alive.
# `systemctl kill` and no number: a main process that ended meanwhile must not become somebody else's.
CRASH = ('unit=$1; shift; pid=$(systemctl show -p MainPID --value "$unit"); [ "$pid" -gt 0 ] || exit 9; '
         'cut -d" " -f1 /proc/uptime; systemctl kill --kill-whom=main -s KILL "$unit"; '
         'while [ -e "/proc/$pid" ]; do sleep 0.02; done; "$@"; cut -d" " -f1 /proc/uptime')

# Gives a host's HAProxy one command.
TELL = """
import socket, sys
with socket.socket(socket.AF_UNIX) as s:
    s.connect("/run/haproxy/admin.sock")
    s.sendall(sys.argv[1].encode() + b"\\n")
    print(s.makefile().read())
"""


def ask(lab: Lab, host: str, command: str, request: Mapping[str, Any], *, timeout: float = 120) -> dict[str, Any]:
    """Run one read of the applier as root on `host` and return its answer."""
    answer: dict[str, Any] = json.loads(remote(lab, host, argv(command), frame(request), timeout=timeout))
    return answer


def remote(lab: Lab, host: str, command: Sequence[str], stdin: bytes = b"", *, timeout: float = 120) -> str:
    """Run a command as root on `host` with bytes for its stdin, and return what it printed.

    What is no UTF-8 (a journal's export has any bytes) comes back as the same bytes by `surrogateescape`.
    """
    done = subprocess.run(lab.entered(host, *command), input=stdin, capture_output=True, timeout=timeout, check=False,
                          env=ROOTS)
    said, wrong = (stream.decode(errors="surrogateescape") for stream in (done.stdout, done.stderr))
    assert done.returncode == 0, f"{host}: {command[0]}: {done.returncode}\n{said!a}\n{wrong!a}"
    return said


def api_servers_are_ready(lab: Lab) -> None:
    """Wait until each API server says that it is."""
    probes = [{"name": host, "kind": "http", "url": f"https://{address}:{APISERVER}/readyz", "ca": pki.CA,
               "status": 200} for host, address in ADDRESSES.items()]
    answer = ask(lab, "w1", "probe", {"probes": probes, "deadline": HEALTHY})
    assert answer["ok"], answer


def haproxy(lab: Lab, host: str, command: str) -> str:
    """Give the HAProxy of `host` a command, and return its answer."""
    return lab.on(host, "python3", "-c", TELL, command)


def out_of_service(lab: Lab, host: str) -> set[str]:
    """Return the API servers to which the HAProxy of `host` was told to send nobody."""
    rows = [line.split() for line in haproxy(lab, host, "show servers state apiservers").splitlines()]
    states = {row[3]: row[6] for row in rows if "apiservers" in row[1:2]}
    assert states.keys() == set(ADDRESSES), states
    return {name for name, state in states.items() if state != "0"}


def crash_and_probe(lab: Lab, host: str, unit: str, probes: Sequence[Mapping[str, Any]], deadline: float,
                    ) -> tuple[float, list[str]]:
    """Kill -9 the unit's main process; return the seconds until all probes held, and what did not hold at last."""
    request = {"probes": list(probes), "deadline": deadline, "interval": 0.1}
    words = ["sh", "-c", CRASH, "crash", unit, *argv("probe")]
    killed, answer, ended = remote(lab, host, words, frame(request), timeout=deadline + 60).splitlines()
    missing = [f"{r['name']}: {r['reason']}" for r in json.loads(answer)["results"] if not r["ok"]]
    return round(float(ended) - float(killed), 2), missing


def at_once(calls: Mapping[str, Callable[[], T]]) -> dict[str, T]:
    """Call all of `calls` (by name, without arguments) at the same time and return what each returned."""
    with ThreadPoolExecutor(max_workers=len(calls)) as executor:
        running = {name: executor.submit(call) for name, call in calls.items()}
        return {name: future.result() for name, future in running.items()}
