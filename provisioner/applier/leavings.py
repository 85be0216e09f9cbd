"""What running leaves behind beside files: data, processes, mounts, devices, tables; seen, and taken away one by one.

Each is compared like a file: it is taken away where it is not as it was before us, and a second time finds it so.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import signal
import stat
import time
from typing import Any, Callable, Collection, Iterator, Mapping, Sequence

from . import files, kernel, network, selinux
from .host import Fault, Host, NoProgram, check_unit
from .mounts import mounts

ABSENT, EMPTY, THERE = "absent", "empty", "there"
RUN_DIR = "/run/kubewright"
NETNS = "/run/netns"
LOST = "lost+found"     # the file system's own
GRACE = 10.0        # seconds that a process has to end by itself, and then to be gone


def data(host: Host, path: str) -> str:
    """Say whether a directory holds anything, and of an empty one its mode and owner too: it was there before us."""
    place = host.at(path)
    try:
        return THERE if set(os.listdir(place)) - {LOST} else _empty(place)
    except NotADirectoryError:
        return THERE
    except FileNotFoundError:
        return ABSENT


def _empty(place: str) -> str:
    status = os.stat(place)
    return f"{EMPTY} {stat.S_IMODE(status.st_mode):04o} {files.owner_of(status)}"


def emptied(host: Host, path: str) -> str:
    """Return the state in which a place is gone: a link or a file system is somebody's own, and only emptied."""
    place = host.at(path)
    own = os.path.isdir(place) and (os.path.islink(place) or os.path.ismount(place))
    return _empty(place) if own else ABSENT


def _remove_data(host: Host, change: Mapping[str, Any]) -> str:
    """Take off what is mounted below, then remove what is there but the paths to `spare`."""
    place = os.path.realpath(host.at(change["path"]))
    taken_off = _unmount_below(host, place)
    word, _, owned = str(change.get("want", ABSENT)).partition(" ")
    spare = [os.path.realpath(os.path.dirname(at)) + f"/{os.path.basename(at)}"
             for at in map(host.at, change.get("spare", ()))]
    delete(place, spare, keep_top=word == EMPTY or os.path.islink(host.at(change["path"])))
    if word == EMPTY:
        mode, _, owner = owned.partition(" ")
        user, _, group = owner.partition(":")
        files.directory(place, int(mode, 8), *files.ids(user, group))
    return "removed" + (f", {taken_off} mounts taken off" if taken_off else "")


def _unmount_below(host: Host, place: str) -> int:
    """Take off all that is mounted below a place, the innermost first; one may take others with it (propagation).

    A Fault where one stays: what is in it is somebody's, and may be a directory of this very file system.
    """
    taken_off = 0
    while below := [m for m in mounts(host) if m.startswith(f"{place}/")]:
        host.run(["umount", "--", max(below, key=len)])
        taken_off += 1
    return taken_off


def delete(place: str, spare: Collection[str], keep_top: bool = False) -> None:
    """Remove a directory with all that is in it, but never into another file system, nor what is spared."""
    if not os.path.lexists(place):
        return
    status = os.lstat(place)
    if not stat.S_ISDIR(status.st_mode):
        files.remove(place)
        return
    for root, directories, names in os.walk(place, topdown=False):
        if os.lstat(root).st_dev != status.st_dev:
            raise Fault(f"{root}: another file system; nothing in it was removed")
        if os.path.ismount(place) and f"{root}/".startswith(f"{place}/{LOST}/"):
            continue
        for name in (*names, *(d for d in directories if os.path.islink(os.path.join(root, d)))):
            if os.path.join(root, name) not in spare:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(root, name))
        if root != place or not (keep_top or os.path.ismount(place)):
            _remove_if_empty(root)
    files.sync_directory(os.path.dirname(place))


def _remove_if_empty(place: str) -> None:
    if not os.listdir(place):
        os.rmdir(place)


def processes(host: Host, group: str) -> str:
    """Say whether a process is in the control group of a unit, or below it; an empty slice is there as well."""
    if next(_members(host, check_unit(group)), None):
        return THERE
    shown = host.run(["systemctl", "show", "--property=ActiveState", "--", group]) if group.endswith(".slice") else ""
    return THERE if shown.strip() == "ActiveState=active" else ABSENT


def _members(host: Host, group: str) -> Iterator[int]:
    """Yield the processes of this host's own group: one in a container of somebody's may be named like it."""
    tops = {number: path.removesuffix("/init.scope").rstrip("/") for number, path in _groups(host, "1")}
    for name in os.listdir(host.at("/proc")):
        if name.isdigit() and any(_is_in(group, tops.get(number, ""), path) for number, path in _groups(host, name)):
            yield int(name)


def _groups(host: Host, pid: str) -> list[tuple[str, str]]:
    """Return a process's control groups, each with the number of its hierarchy."""
    lines = (host.text(f"/proc/{pid}/cgroup") or "").splitlines()
    return [(line.partition(":")[0], line.split(":", 2)[2]) for line in lines if line.count(":") >= 2]


def _is_in(group: str, top: str, path: str) -> bool:
    """Say whether a path leads from the top (systemd's own place) through nothing but slices to the group."""
    if not f"{path}/".startswith(f"{top}/"):
        return False
    above, found, _ = f"{path.removeprefix(top)}/".partition(f"/{group}/")
    return bool(found) and all(part.endswith(".slice") for part in above.strip("/").split("/") if part)


def _end_processes(host: Host, change: Mapping[str, Any]) -> str:
    """Ask every process to end, and end those that do not; then let systemd drop a slice that is empty."""
    group = change["path"]
    count = 0
    for number in (signal.SIGTERM, signal.SIGKILL):
        members = list(_members(host, group))
        count = count or len(members)
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + GRACE
        while next(_members(host, group), None) and time.monotonic() < deadline:
            time.sleep(0.1)
    left = list(_members(host, group))
    if left:
        raise Fault(f"{group}: {len(left)} processes do not end: {' '.join(map(str, left[:5]))}")
    if group.endswith(".slice"):
        host.run(["systemctl", "stop", "--", group], timeout=60)
    return f"{count} processes ended"


def netdev(host: Host, name: str) -> str:
    """Say whether a network device is there; the name may be a pattern."""
    return THERE if _devices(host, name) else ABSENT


def _devices(host: Host, pattern: str) -> list[str]:
    return sorted(fnmatch.filter(os.listdir(host.at("/sys/class/net")), _word(pattern)))


def _remove_netdev(host: Host, change: Mapping[str, Any]) -> str:
    for device in _devices(host, change["path"]):
        host.run(["ip", "link", "delete", "dev", device])
    return "removed"


def nft(host: Host, table: str) -> str:
    """Say whether a table (`ip kube-proxy`) is there; a host without nft has none of ours."""
    try:
        said = host.run(["nft", "list", "tables"])
    except NoProgram:
        return ABSENT
    return THERE if f"table {table}" in said.splitlines() else ABSENT


def _remove_nft(host: Host, change: Mapping[str, Any]) -> str:
    family, name = map(_word, change["path"].split())
    host.run(["nft", "delete", "table", family, name])
    return "removed"


def chains(host: Host, prefix: str) -> str:
    """Say whether a chain of iptables or nft has a name that begins so; a host with neither has none of ours."""
    begin = f":{_word(prefix)}"
    saved = any(line.startswith(begin) for lines in network.saved(host).values() for line in lines)
    return THERE if saved or _named(_ruleset(host), prefix) else ABSENT


def _ruleset(host: Host) -> Sequence[Mapping[str, Any]]:
    try:
        return network.nft(host, "ruleset")
    except NoProgram:
        return ()


def _named(listed: Sequence[Mapping[str, Any]], prefix: str) -> list[Mapping[str, Any]]:
    found = [entry["chain"] for entry in listed if "chain" in entry]
    return [chain for chain in found if chain["name"].startswith(prefix)]


def _remove_chains(host: Host, change: Mapping[str, Any]) -> str:
    """Take chains and the rules that name them out of each table at once; the rules of others stay as they are."""
    begin = _word(change["path"])
    for (tool, table), lines in network.saved(host).items():
        gone = {line[1:].split()[0] for line in lines if line.startswith(f":{begin}")}
        if gone:
            host.run([f"{tool}-restore", "--noflush", "--wait", "10"],
                     given="\n".join([f"*{table}", *without_chains(lines, gone), "COMMIT", ""]))
    listed = _ruleset(host)
    if _named(listed, begin):
        host.run(["nft", "-f", "-"], given="\n".join([*without_named(listed, begin), ""]))
    for family, name in idle(_ruleset(host)):
        host.run(["nft", "delete", "table", family, name])
    return "removed"


def idle(listed: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return the tables of iptables in which nothing is said: it makes them by itself, and makes them again."""
    said = {(entry[kind]["family"], entry[kind]["table"]) for entry in listed for kind in ("rule", "set", "map")
            if kind in entry}
    said |= {(c["family"], c["table"]) for entry in listed if "chain" in entry for c in [entry["chain"]]
             if c.get("policy") != "accept"}
    there = [(t["family"], t["name"]) for entry in listed if "table" in entry for t in [entry["table"]]]
    return [table for table in there
            if table[0] in ("ip", "ip6") and table[1] in ("filter", "nat", "mangle") and table not in said]


def without_named(listed: Sequence[Mapping[str, Any]], prefix: str) -> list[str]:
    """Return the acts on `nft -j list ruleset` that take chains away: the rules that call them, then themselves."""
    rules = [entry["rule"] for entry in listed if "rule" in entry]
    calls = [rule for rule in rules for part in rule["expr"] for way in ("jump", "goto")
             if isinstance(part.get(way), dict) and str(part[way].get("target", "")).startswith(prefix)]
    whole = [network.named(chain) for chain in _named(listed, prefix)]
    return [*(f"delete rule {r['family']} {r['table']} {r['chain']} handle {r['handle']}" for r in calls),
            *(f"flush chain {name}" for name in whole), *(f"delete chain {name}" for name in whole)]


def without_chains(lines: Sequence[str], gone: Collection[str]) -> list[str]:
    """Return the acts on one table of `iptables-save` that take chains away: their calls, their rules, themselves."""
    calls = [f"-D{line[2:]}" for line in lines if line.startswith("-A ") and line.split()[1] not in gone
             and any(word in gone for word in line.split())]
    return [*calls, *(f"-F {name}" for name in sorted(gone)), *(f"-X {name}" for name in sorted(gone))]


def netns(host: Host, prefix: str) -> str:
    """Say whether a network namespace is kept under a name that begins so."""
    return THERE if next(_namespaces(host, prefix), None) else ABSENT


def _namespaces(host: Host, prefix: str) -> Iterator[str]:
    with contextlib.suppress(FileNotFoundError):
        yield from (f"{host.at(NETNS)}/{name}" for name in os.listdir(host.at(NETNS)) if name.startswith(_word(prefix)))


def _remove_netns(host: Host, change: Mapping[str, Any]) -> str:
    """Let go of the namespaces; the directory too, where nobody else keeps one."""
    names, mounted = list(_namespaces(host, change["path"])), mounts(host)
    for place in names:
        for _ in range(mounted.count(place)):
            host.run(["umount", "--", place])
        os.unlink(place)
    place = host.at(NETNS)
    if not os.listdir(place):
        for _ in range(mounted.count(place)):
            host.run(["umount", "--", place])
        os.rmdir(place)
    return f"{len(names)} removed"


def _set_sysctl(host: Host, change: Mapping[str, Any]) -> str:
    host.run(["sysctl", "--quiet", "--write", f"{_word(change['path'])}={change['want']}"])
    return f"set to {change['want']} again"


def _swap_on(host: Host, change: Mapping[str, Any]) -> str:
    host.run(["systemctl", "unmask", "--", "swap.target"])
    host.run(["swapon", "--all"])
    return "on again"


def _remove_user(host: Host, change: Mapping[str, Any]) -> str:
    host.run(["userdel", _word(change["path"])])
    return "removed"


def _word(text: str) -> str:
    """Refuse what a command would take for an option or for two words."""
    if not text or text.startswith("-") or any(c.isspace() for c in text):
        raise Fault(f"not a name: {text!r}")
    return text


# What an item of these kinds is, and how it goes; packages go together (packages.py).
KINDS: dict[str, Callable[[Host, str], str]] = {
    "data": data, "processes": processes, "netdev": netdev, "nft": nft, "chains": chains, "netns": netns,
    "sysctl": kernel.sysctl, "selinux-module": lambda host, name: selinux.module(host, _word(name)),
}
OWNED = ("user", "sysctl", "swap")
REMOVE: dict[str, Callable[[Host, Mapping[str, Any]], str]] = {
    "data": _remove_data, "processes": _end_processes, "netdev": _remove_netdev, "nft": _remove_nft,
    "chains": _remove_chains, "netns": _remove_netns, "sysctl": _set_sysctl, "swap": _swap_on, "user": _remove_user,
    "selinux-module": lambda host, change: selinux.forget(host, _word(change["path"])),
}


def remove(host: Host, change: Mapping[str, Any]) -> str:
    """Take one thing away and return what that took."""
    return REMOVE[change["kind"]](host, change)
