"""What services have written into a node's kernel once and others have flushed: the units run, and serve nobody."""

from __future__ import annotations

from collections.abc import Collection

from provisioner.errors import KubewrightError
from provisioner.orchestrate.gates.gate_probes import lasting_probes
from provisioner.orchestrate.session.session import Session

MOMENT = 2.0        # seconds in which what is there is seen, also while a unit that has just started writes it
GONE = {"rules": "its packet rules are gone", "ways": "its routes to other nodes are gone"}


def reasons(session: Session, connected: Collection[str]) -> dict[tuple[str, str], str]:
    """Return why units have to start anew, by host and unit: what they wrote is not there any more.

    Hosts that do not answer are left out: what they have is not known. `connected` as for `lasting_probes`.
    """
    nodes = session.reachable([h.name for h in session.cluster.nodes if h.name not in session.unreachable])
    asked = {}
    for host in nodes:
        probes = {unit: of_unit for unit, of_unit in lasting_probes(session, host, connected).items()
                  if session.observed[host].runs(unit)}
        asked[host] = [(unit, probe) for unit, of_unit in probes.items() for probe in of_unit]
    answers = session.hosts.map(lambda one: one.probe([probe for _, probe in asked[one.name]], MOMENT),
                               [host for host, probes in asked.items() if probes], patient=False)
    found: dict[tuple[str, str], str] = {}
    for host, answer in answers.items():
        if not isinstance(answer, KubewrightError):
            for (unit, probe), result in zip(asked[host], answer["results"], strict=True):
                if not result["ok"]:
                    found.setdefault((host, unit), GONE[probe["kind"]])
    return found
