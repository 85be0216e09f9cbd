"""OS packages that came because we asked for some, and how they go: only those that nothing of anybody else needs."""

from __future__ import annotations

from typing import Any, Collection

from . import managers
from .host import Host

PATIENCE = 900      # seconds for the package manager, which may wait for another's lock for most of them
Book = dict[str, Any]


def begin(host: Host, book: Book, names: Collection[str], step: str) -> bool:
    """Note which packages are there before some are installed; what was begun and never settled stays begun."""
    if not names:
        return False
    pending = book.get("packages") or {"before": sorted(installed(host)), "asked": [], "step": step}
    book["packages"] = {**pending, "asked": sorted({*pending["asked"], *names})}
    return True


def settle(host: Host, book: Book, wait: bool = False) -> bool:
    """Make records of the packages that have come since: those asked for, and what came by itself for them.

    What a person installed meanwhile by name is theirs. With `wait`, one that outlived its run ends first.
    """
    from . import owned
    pending = book.pop("packages", None)
    if pending is None:
        return False
    manager = managers.of(host)
    if wait:
        manager.wait(host, PATIENCE)
    new = installed(host) - set(pending["before"])
    automatic = manager.automatic(host) if new else set()
    for name in sorted(new & {*automatic, *pending["asked"]}):
        owned.add(book, {"kind": "package", "path": name, "asked": name in pending["asked"]}, "absent", "installed",
                  pending["step"])
    return True


def installed(host: Host) -> set[str]:
    """Return the names of the packages of which anything is there, but for left-over settings."""
    return managers.of(host).installed(host)


def purge(host: Host, names: Collection[str]) -> str:
    """Remove packages with their settings, and those that came with them, where that removes nothing else.

    One that something else needs stays, and is told; so does one that came with others and that somebody has asked for
    by name since. Done twice, the second time finds nothing to do.
    """
    from . import owned
    came = {r["path"] for r in owned.load(host)["items"].values() if r["kind"] == "package" and not r.get("asked")}
    manager = managers.of(host)
    mine = came & manager.automatic(host) if came else came
    there = installed(host)
    wanted = {name for name in {*names, *mine} if name in there}
    going = wanted if not others_of(host, wanted, wanted) else {
        name for name in wanted if not others_of(host, [name], wanted)}
    if going != wanted and others_of(host, going, wanted):      # needed as one of two: each alone could go
        going = set()
    if going:
        manager.remove(host, going, PATIENCE)
    kept = sorted(set(names) & wanted - going)
    return "purged" + (f"; kept, as other packages need them: {', '.join(kept)}" if kept else "")


def others_of(host: Host, names: Collection[str], ours: Collection[str]) -> set[str]:
    """Return the packages that would go with `names` and are not `ours`."""
    if not names:
        return set()
    return managers.of(host).going(host, names, PATIENCE) - set(ours)
