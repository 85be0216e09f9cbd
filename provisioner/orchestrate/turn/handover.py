"""The VIP leaves a host in good order: nobody new is taken for a moment, what is under way is answered.

A client whose first packet is dropped sends it again after a second (RFC 6298, 2.1), and finds the next holder. The
rule forgets the address by itself, so a host on which nothing came after it is as before.
"""

from __future__ import annotations

from collections.abc import Sequence

from provisioner.compile.load_balancer import HANDOVER
from provisioner.model.guards import VIP_LEAVES
from provisioner.model.observed import ABSENT
from provisioner.model.phases import PhaseName
from provisioner.model.plan import Change, Turn
from provisioner.orchestrate.session.session import Session
from provisioner.orchestrate.turn.apply import program

NFT, SLEEP = "/usr/sbin/nft", "/usr/bin/sleep"
ANSWERED = 0.8          # seconds for what came to the VIP to be answered: a dropped client asks again after 1
FORGOTTEN = "15s"       # after which the VIP's rule means nobody any more


def with_it(session: Session, host: str, turn: Turn, changes: Sequence[Change]) -> Sequence[Change]:
    """Return a host's changes of a turn, with the VIP's leaving around them where the turn has that guard.

    All of it is one step of the host, which outlives us: no kill of ours leaves the VIP closed.
    """
    before = no_new_connections(session, host, turn.phases[0]) if VIP_LEAVES in turn.guards else []
    if not before:
        return changes
    after = program(session, host, turn.phases[0], "the VIP has left", [f"delete table {HANDOVER}"], 10, NFT)
    return [*before, *changes, after]


def no_new_connections(session: Session, host: str, phase: PhaseName) -> list[Change]:
    """Return what lets a host answer what came to the VIP, and nobody new; nothing where it has no nft, which
    gives the VIP up as it is.
    """
    api = session.cluster.api
    if api.vip is None:
        return []
    rules = program(session, host, phase, "no new connection to the VIP", [shut(str(api.vip), api.port)], 10, NFT)
    if rules.expect == ABSENT:
        return []
    return [rules, program(session, host, phase, "what is under way is answered", [f"{ANSWERED:g}"], 10, SLEEP)]


def shut(vip: str, port: int) -> str:
    """Return the rules by which a host takes no new connection at the VIP, for some seconds; they may be there."""
    family, of = ("ip6", "ipv6_addr") if ":" in vip else ("ip", "ipv4_addr")
    return (f"add table {HANDOVER}; delete table {HANDOVER}; add table {HANDOVER}; "
            f"add set {HANDOVER} vip {{ type {of}; flags timeout; }}; "
            f"add element {HANDOVER} vip {{ {vip} timeout {FORGOTTEN} }}; "
            f"add chain {HANDOVER} input {{ type filter hook input priority -300; policy accept; }}; "
            f"add rule {HANDOVER} input {family} daddr @vip tcp dport {port} tcp flags & (syn | ack) == syn drop")
