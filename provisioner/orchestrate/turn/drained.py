"""Keep Nodes drained for a turn, and go on only when what left them is there again.

How a Node is emptied and given back stands in draining.py. A run that is killed leaves it cordoned, and noted as ours;
the next one undoes that (`restore`), unless somebody asked that it stays so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from provisioner.decide import placing
from provisioner.operate import drain
from provisioner.orchestrate.gates import leaders, node_states
from provisioner.orchestrate.session.session import Session
from provisioner.orchestrate.turn import draining


def others_are_ready(session: Session, hosts: Sequence[str]) -> None:
    """Prove that every other Node is Ready: what leaves these has to go somewhere, and none is to be the second out.

    And that somebody leads, who places what leaves, and takes it out of Services.
    """
    others = [h for h in session.answering(session.cluster.nodes) if h not in hosts]
    if others:
        node_states.nodes_are_ready(session, others, when="before")
        leaders.lead(session)


@contextmanager
def held(session: Session, hosts: Sequence[str]) -> Iterator[None]:
    """Keep these Nodes without Pods during the block; then what left has as many Pods Ready as before, or GateFailed.

    That holds for Pods that only these Nodes can run as well, whose volumes are there: they come back to them.

    GateFailed with the Pods that did not leave in time: nothing was changed on the hosts, and they take Pods again.
    """
    before = drain.placed(session.access.kube())
    with draining.drained(session, hosts):
        session.run.works_on(", ".join(hosts), session.run.ahead)
        yield
    closed = [name for name, node in session.access.kube().nodes_by_name().items() if drain.is_cordoned(node)]
    without = [host for host in hosts if host in closed]        # by somebody else, or to be kept so
    open_again = placing.taking_pods(before, [host for host in hosts if host not in closed])
    for host in hosts:
        draining.pods_are_back(session, open_again, host, session.run.draining.timeout, without=without)


def restore(session: Session) -> str:
    """Let Nodes take Pods again that a killed run left cordoned, and say which."""
    hosts = [h for h in session.the_plan.cordoned if h not in session.unreachable]
    for host in hosts:
        session.run.still_ours()
        drain.uncordon(session.access.kube(), host)
    return f"{', '.join(hosts)} takes Pods again" if hosts else ""
