"""OS packages that came because we asked for some, and how they go: only those that nothing of anybody else needs."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import time
from typing import Any, Collection

from .host import Fault, Host

PATIENCE = 900      # seconds for apt, which may wait for another's lock for most of them
LOCK = "/var/lib/dpkg/lock-frontend"
_APT = ["apt-get", "-o", "DPkg::Lock::Timeout=600"]
Book = dict[str, Any]


def begin(host: Host, book: Book, names: Collection[str], step: str) -> bool:
    """Note which packages are there before some are installed; what was begun and never settled stays begun."""
    if not names:
        return False
    pending = book.get("packages") or {"before": sorted(installed(host)), "asked": [], "step": step}
    book["packages"] = {**pending, "asked": sorted({*pending["asked"], *names})}
    return True


def settle(host: Host, book: Book, wait: bool = False) -> bool:
    """Make records of the packages that have come since: those asked for, and what apt brought for them by itself.

    What a person installed meanwhile by name is theirs. With `wait`, an apt that outlived its run ends first.
    """
    from . import owned
    pending = book.pop("packages", None)
    if pending is None:
        return False
    if wait:
        _wait_for_apt(host)
    new = installed(host) - set(pending["before"])
    automatic = set(host.run(["apt-mark", "showauto"]).split()) if new else set()
    for name in sorted(new & {*automatic, *pending["asked"]}):
        owned.add(book, {"kind": "package", "path": name, "asked": name in pending["asked"]}, "absent", "installed",
                  pending["step"])
    return True


def _wait_for_apt(host: Host) -> None:
    """Wait until nobody holds dpkg's lock; a Fault after apt's own patience."""
    deadline = time.monotonic() + PATIENCE
    with contextlib.suppress(FileNotFoundError), open(host.at(LOCK), "r+b") as lock:
        while True:
            try:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError as held:
                if held.errno not in (errno.EACCES, errno.EAGAIN) or time.monotonic() > deadline:
                    raise Fault(f"{LOCK}: {held.strerror} for {PATIENCE} s") from None
            time.sleep(0.2)


def installed(host: Host) -> set[str]:
    """Return the names of the packages that dpkg has something of, but for left-over settings."""
    try:
        text = host.run(["dpkg-query", "--show", "--showformat=${db:Status-Status}\t${Package}\n"])
    except Fault:
        return set()        # not a Debian: nothing of ours can have come as a package
    pairs = (line.partition("\t") for line in text.splitlines())
    return {name for status, _, name in pairs if status not in ("not-installed", "config-files")}


def purge(host: Host, names: Collection[str]) -> str:
    """Remove packages with their settings, and those that came with them, where that removes nothing else.

    One that something else needs stays, and is told; so does one that came with others and that somebody has asked for
    by name since. Done twice, the second time finds nothing to do.
    """
    from . import owned
    came = {r["path"] for r in owned.load(host)["items"].values() if r["kind"] == "package" and not r.get("asked")}
    mine = came & set(host.run(["apt-mark", "showauto"]).split()) if came else came
    there = installed(host)
    wanted = {name for name in {*names, *mine} if name in there}
    going = wanted if not others_of(host, wanted, wanted) else {
        name for name in wanted if not others_of(host, [name], wanted)}
    if going != wanted and others_of(host, going, wanted):      # needed as one of two: each alone could go
        going = set()
    if going:
        host.run([*_APT, "--yes", "purge", *sorted(going)], timeout=PATIENCE)
    kept = sorted(set(names) & wanted - going)
    return "purged" + (f"; kept, as other packages need them: {', '.join(kept)}" if kept else "")


def others_of(host: Host, names: Collection[str], ours: Collection[str]) -> set[str]:
    """Return the packages that would go with `names` and are not `ours`."""
    if not names:
        return set()
    return removals(host.run([*_APT, "--simulate", "purge", *sorted(names)], timeout=PATIENCE)) - set(ours)


def removals(said: str) -> set[str]:
    """Read what `apt-get --simulate purge` would remove."""
    words = (line.split() for line in said.splitlines())
    return {w[1].partition(":")[0] for w in words if len(w) > 1 and w[0] in ("Remv", "Purg")}


