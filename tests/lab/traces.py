"""What a look at machines could leave on them: their files, who listens, which processes run; all hosts at once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from provisioner.parallel import ask_all
from tests.lab.machines import NODES, Lab, until

# A directory's own time changes with what comes and goes in it; a file's does not.
SCRIPT = r"""
for place in /etc /usr/local /opt /root /home /var/lib; do
  find "$place" -type d -printf 'directory %p %m %u\n' -o -printf 'file %p %y %m %u %s %T@ %l\n'
done
find /etc -type f -exec sha256sum {} +
ss -Hltnu | awk '{ print "listens", $1, $5 }'
ps -eo args= | sed 's/^/process /'
ip route; ip -4 -o address; ip -o link | awk '{ print $2, $5, $17 }'
findmnt -rno TARGET,OPTIONS
cat /proc/sys/kernel/hostname
"""
# What systemd and the kernel count by themselves, what the trace is made with, and what says which defect is there.
NOT_COMPARED = re.compile(r"/var/lib/systemd/|/etc/lab-node/defects|process (ps |sh -ec|find |sed )|/etc/passwd-|"
                          r"/var/lib/dpkg/(lock|triggers/Lock|status-old|alternatives/)|/run/(user|credentials)|"
                          r"lifetime|systemd-(hostname|locale|timedate)d|process \S*/systemd/systemd( |$)")
Traces = Mapping[str, frozenset[str]]


def traces(lab: Lab, hosts: Sequence[str] = NODES) -> Traces:
    """Return the trace of each host as a set of lines."""
    def one(host: str) -> frozenset[str]:
        said = lab.on(host, "sh", "-c", SCRIPT, check=False).splitlines()
        return frozenset(line for line in said if not NOT_COMPARED.search(line))

    return ask_all(one, hosts, workers=len(hosts), name="trace")


def changes(before: Traces, after: Traces) -> list[str]:
    """Return what came (+) and went (-) on each host, a line each."""
    return [f"{host}: {sign} {line}" for host in before
            for sign, found in (("+", after[host] - before[host]), ("-", before[host] - after[host]))
            for line in sorted(found)]


def stay(lab: Lab, before: Traces, seconds: float = 10.0) -> None:
    """Demand that the hosts are again what they were: a login that has ended takes a moment to be gone."""
    seen: list[str] = []

    def same() -> bool:
        seen[:] = changes(before, traces(lab, tuple(before)))
        return not seen

    try:
        until(same, seconds, "the hosts are what they were")
    except AssertionError:
        raise AssertionError("\n".join(seen[:40])) from None
