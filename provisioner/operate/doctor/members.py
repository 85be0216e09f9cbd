"""etcd, beyond what `status` asks: is there a majority, do reads agree, who lags, how often was a leader elected."""

from __future__ import annotations

import re
from collections.abc import Iterator

from provisioner.model.etcd import EtcdStatus, quorum
from provisioner.model.finding import Finding
from provisioner.operate.doctor.picture import Picture
from provisioner.operate.health import BEHIND, unseen_members

ELECTED = r"elected leader [0-9a-f]+ at term (\d+)"     # raft's words in etcd's journal, 3.6 and 3.7
HOUR = "-1h"
OFTEN = 3               # elections in an hour: one is a restart, and a second may be its consequence
SPARE = 0.5             # of the data: so much may be free inside before a defragmentation is worth its pause
WORTH = 512 * 1024**2   # bytes of data below which nobody gains by it


def margin(total: int, answering: int) -> str:
    """Say in words how many members answer, and what that leaves."""
    left = answering - quorum(total)
    said = f"{answering} of {total} members answer"
    if left < 0:
        return f"{said}: no majority, {-left} more must come back"
    return f"{said}: {('none', 'one', 'two', 'three')[left] if left < 4 else left} may fail"


def margin_of(picture: Picture) -> str:
    """Say it of this cluster; a member that could not be asked is not said to be lost."""
    names = [h.name for h in picture.cluster.etcd_hosts]
    good = sum(isinstance(picture.members.get(name), EtcdStatus) for name in names)
    silent = unseen_members(names, picture.members)
    return margin(len(names), good) + (f"; not seen: {', '.join(silent)}" if silent else "")


def majority(picture: Picture) -> Iterator[Finding]:
    """Judge whether a majority answers: without one nothing can be written, and nothing new be agreed on."""
    names = [h.name for h in picture.cluster.etcd_hosts]
    good = [n for n in names if isinstance(picture.members.get(n), EtcdStatus)]
    gone = len(names) - len(good) - len(unseen_members(names, picture.members))
    # Where members could not be asked, those that were tell it: none of them reads what a majority agrees on.
    alone = bool(picture.reads) and all(seen.agreed is None for seen in picture.reads.values())
    if len(names) - gone < quorum(len(names)) or alone:
        silent = next((n for n in names if n not in good), names[0])
        yield Finding("etcd-majority", "", "error", f"etcd: {margin_of(picture)}", f"kubewright logs {silent} etcd")


def reads(picture: Picture) -> Iterator[Finding]:
    """Judge whether what a member reads from its own data is what a majority agrees on."""
    for host, seen in picture.reads.items():
        if seen.own is not None and seen.agreed is None:
            yield Finding("etcd-reads", host, "error",
                          f"etcd answers from its own data only, nothing agreed on: {seen.agreed_fault}", "")
        elif seen.own is not None and seen.agreed is not None and seen.agreed - seen.own > BEHIND:
            yield Finding("etcd-reads", host, "error", f"etcd's own data is {seen.agreed - seen.own} changes older "
                          "than what the members agree on", "")


def elections(picture: Picture) -> Iterator[Finding]:
    """Judge how often a leader was elected within the last hour, by the journals of the members that were seen.

    All members tell of each election, so what one of them has lost another has; a counter would say nothing of when.
    """
    terms: set[str] = set()
    for host, seen in picture.hosts.items():
        for lines in seen.said:
            if lines.why:
                yield Finding("etcd-elections", host, "unseen", lines.why, "")
            terms |= {found[1] for _, text in lines.lines if (found := re.search(ELECTED, text))}
    if len(terms) >= OFTEN:
        yield Finding("etcd-elections", "", "warning",
                      f"etcd: {len(terms)} elections of a leader within the last hour", "")


def room(picture: Picture) -> Iterator[Finding]:
    """Judge whether much of a member's file is empty inside: space that only a defragmentation gives back."""
    for host, member in picture.members.items():
        if isinstance(member, EtcdStatus) and member.db_size > WORTH and 0 < member.in_use < SPARE * member.db_size:
            yield Finding("etcd-spare", host, "warning", f"etcd's file has {member.db_size / 1e6:.0f} MB, of which "
                          f"{member.in_use / 1e6:.0f} MB are in use", "")


OLD = 7 * 86400.0       # seconds: what was written since is lost with the data


def snapshots(picture: Picture) -> Iterator[Finding]:
    """Judge whether there is a snapshot to go back to, here or on a host, how old it is, and whether it was proved."""
    seen = picture.snapshots
    if seen is None:
        return
    if seen.taken is None:
        yield Finding("snapshots", "", "warning", "etcd: no snapshot is kept", "kubewright etcd snapshot")
    elif seen.taken > OLD:
        days = f"{seen.taken / 86400:.0f} days"
        yield Finding("snapshots", "", "warning", f"etcd: the newest snapshot is {days} old",
                      "kubewright etcd snapshot")
    if seen.taken is not None and seen.proved is None:
        yield Finding("snapshots", "", "warning", "etcd: no snapshot was proved by a rehearsal",
                      "kubewright etcd restore --rehearse FILE")
    elif seen.proved is not None and seen.proved > OLD and seen.taken is not None and seen.taken <= OLD:
        yield Finding("snapshots", "", "warning",
                      f"etcd: the newest snapshot that was proved is {seen.proved / 86400:.0f} days old",
                      "kubewright etcd restore --rehearse FILE")
