"""Machines: how units live, what the kernel says, what is full or will be, what expires, whose clock differs."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator, Sequence

from provisioner.model.examination import Examination, UnitLife
from provisioner.model.file_system import FileSystem
from provisioner.model.finding import Finding
from provisioner.operate.doctor.picture import Picture

DIRECTORIES = ("/", "/var", "/var/lib", "/var/lib/etcd", "/var/lib/containerd", "/var/lib/kubelet", "/var/log", "/opt",
               "/opt/kubewright", "/tmp", "/run")  # noqa: S108 - looked at, never written
LOOP = 3                # ends of a unit that has not run for CALM since: it does not stay up
CALM = 600.0            # seconds
LENGTH = 200            # characters of a line that is told
DAY = 86400.0
FULL, TIGHT = 0.95, 0.85    # of a file system; at 85 % the kubelet begins to remove images (its own default)
WEEK = 7 * DAY          # who has not renewed a certificate until so little is left has no `up` that does
LEAST = 3600.0          # seconds between two looks at a disk that say anything of its rate
SURE = DAY              # and that say enough to call it unhealthy: the images of a first `up` are there within hours
CLOCKS = 0.5            # seconds off the median: what `check` warns of
# What the kernel says of a machine that ails, with what it means in a few words.
KERNEL: tuple[tuple[str, str], ...] = (
    # Not of a control group: that is a Pod at its own limit, with all else well; what ends a unit is told of the unit.
    (r"(?<!cgroup )[Oo]ut of memory: Killed process|oom-kill:constraint=CONSTRAINT_(?!MEMCG)",
     "the kernel killed a process for want of memory"),
    # Drives for floppies and CDs that are empty or only pretended say so at each boot.
    (r"(I/O error|blk_update_request|critical medium error)(?!.*dev (fd|sr)\d)", "a disk does not read or write"),
    (r"blocked for more than \d+ seconds", "a task hangs, most often for a disk"),
    (r"(EXT4|BTRFS|XFS).*([Ee]rror|[Cc]orrupt)|Remounting filesystem read-only", "a file system is damaged"),
    (r"soft lockup|hard LOCKUP|detected stalls?", "a processor is stuck"),
    (r"Hardware Error|Machine check", "the hardware reports errors"),
    (r"nf_conntrack: table full", "connections are dropped: the table of connections is full"),
    (r"neighbour: arp_cache: neighbor table overflow", "packets are dropped: the table of neighbours is full"),
)
KERNEL_PATTERN = "|".join(f"({pattern})" for pattern, _ in KERNEL)


def lives(picture: Picture) -> Iterator[Finding]:
    """Judge how units live: one that does not stay up, and one that ended within the last day, with its last words."""
    for host, seen in picture.hosts.items():
        for unit in seen.units:
            short = unit.name.removesuffix(".service")
            if _loops(unit, seen.now):
                yield Finding("restarts", host, "error", f"{unit.name} does not stay up: it ended "
                              f"{unit.restarts} times{_result(unit)}{_words(unit)}", f"kubewright logs {host} {short}",
                              code="restart-loop")
            elif not unit.runs and unit.exists and unit.result not in ("", "success"):
                yield Finding("restarts", host, "error", f"{unit.name} failed{_result(unit)}{_words(unit)}",
                              f"kubewright logs {host} {short}", code="unit-failed")
            elif unit.runs and unit.restarts and seen.now - unit.since < DAY:
                yield Finding("restarts", host, "warning", f"{unit.name} ended {_times(unit.restarts)} since boot, "
                              f"last {_ago(seen.now - unit.since)} ago{_words(unit, 1)}",
                              f"kubewright logs {host} {short}", code="restarted")
        if seen.failed:
            yield Finding("failed", host, "warning", f"systemd calls failed: {', '.join(seen.failed)}",
                          f"on {host}: systemctl status {seen.failed[0]}")


def _loops(unit: UnitLife, now: float) -> bool:
    waits = unit.sub == "auto-restart" or unit.active == "activating"
    return unit.restarts >= LOOP and (waits or now - unit.since < CALM)


def _result(unit: UnitLife) -> str:
    return {"": "", "success": "", "exit-code": f", exit {unit.status}", "oom-kill": ", killed for want of memory"}.get(
        unit.result, f", {unit.result}")


def _words(unit: UnitLife, lines: int = 3) -> str:
    """Return its last lines as they are told; `-o json` and bundles have the others in what was examined."""
    words = [word if len(word) <= LENGTH else f"{word[:LENGTH]}..." for word in unit.words[-lines:]]
    return f"; its last words: {' | '.join(words)}" if words else ""


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _ago(seconds: float) -> str:
    for length, word in ((DAY, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= length:
            return f"{seconds / length:.0f} {word}"
    return f"{max(0.0, seconds):.0f} s"


def kernel(picture: Picture) -> Iterator[Finding]:
    """Judge what the kernel said since boot: one finding for each kind of trouble on a host, with its newest line."""
    for host, seen in picture.hosts.items():
        if seen.kernel.why:
            yield Finding("kernel", host, "unseen", seen.kernel.why, "")
        for pattern, means in KERNEL:
            said = [(moment, text) for moment, text in seen.kernel.lines if re.search(pattern, text)]
            if said:
                moment, text = said[-1]
                yield Finding("kernel", host, "warning", f"{means} ({_times(len(said))} since boot, last "
                              f"{_ago(seen.now - moment)} ago): {text}", f"on {host}: journalctl --dmesg --boot")


def disks(picture: Picture) -> Iterator[Finding]:
    """Judge what is full now, and what will be within seven days at the rate since earlier looks from here."""
    for host, seen in picture.hosts.items():
        for room in seen.disks:
            name = room.paths[0] if len(room.paths) == 1 else f"{room.paths[0]} (with {', '.join(room.paths[1:])})"
            yield from _disk(picture, host, name, room)


def _disk(picture: Picture, host: str, name: str, room: FileSystem) -> Iterator[Finding]:
    cure = f"on {host}: du -xhd2 {room.paths[0]} | sort -h | tail"
    if room.read_only and room.paths[0] not in ("/opt",):
        yield Finding("disk", host, "error", f"{name}: mounted read-only", f"on {host}: journalctl --dmesg --boot",
                      code="disk-full")
    inodes = 1 - room.inodes_free / room.inodes if room.inodes else 0.0
    for share, what, left in ((room.share, "", f"{room.free / 1e9:.1f} GB left"),
                              (inodes, " of its inodes", f"{room.inodes_free} left")):
        if share >= FULL:
            yield Finding("disk", host, "error", f"{name}: {share * 100:.0f} %{what} in use, {left}", cure,
                          code="disk-full")
        elif share >= TIGHT:
            yield Finding("disk", host, "warning", f"{name}: {share * 100:.0f} %{what} in use, {left}", cure,
                          code="disk-tight")
    if room.share < FULL:
        days, age, rate = forecast(picture.samples.get(host, {}).get(room.paths[0], ()), picture.now, room)
        if days is not None and days <= WEEK / DAY:
            yield Finding("disk", host, "error" if age >= SURE else "warning",
                          f"{name}: full in {days:.1f} days at the rate of the last {_ago(age)}: "
                          f"{rate / 1e9:.1f} GB a day, {room.free / 1e9:.1f} GB left", cure,
                          code="disk-filling")


def forecast(samples: Sequence[tuple[float, int]], now: float, room: FileSystem) -> tuple[float | None, float, float]:
    """Return in how many days a file system is full, since how many seconds that was seen, and its bytes a day.

    None where there is no look that is old enough to say, or where it does not grow.
    """
    old = min((one for one in samples if LEAST <= now - one[0] <= WEEK), default=None)
    if old is None:
        return None, 0.0, 0.0
    age = now - old[0]
    rate = (room.used - old[1]) / age * DAY
    return (room.free / rate if rate > 0 else None), age, rate


def certificates(picture: Picture) -> Iterator[Finding]:
    """Judge how long certificates last: `up` renews those that have little left, so little left means that none ran."""
    ended: dict[str, list[tuple[float, str]]] = {}
    for (host, path), days in picture.certificates.items():
        if days <= WEEK / DAY:
            ended.setdefault(host, []).append((days, path))
    for host, found in ended.items():
        days, path = min(found)
        others = f" and {len(found) - 1} more" if len(found) > 1 else ""
        if days <= 0:
            yield Finding("expiry", host, "error", f"{path}{others}: expired {-days:.1f} days ago", "kubewright up",
                          code="expired")
        else:
            yield Finding("expiry", host, "error", f"{path}{others}: {days:.1f} days left", "kubewright up",
                          code="expires")


def clocks(picture: Picture) -> Iterator[Finding]:
    """Judge the clocks against their median: who is off that is off, whatever the clock of this machine says."""
    if len(picture.clocks) < 2:
        return
    middle = statistics.median(picture.clocks.values())
    for host, off in picture.clocks.items():
        if abs(off - middle) > CLOCKS:
            yield Finding("clock", host, "error", f"its clock is {abs(off - middle):.1f} s "
                          f"{'ahead of' if off > middle else 'behind'} the other hosts' median",
                          f"on {host}: timedatectl; systemctl status systemd-timesyncd chrony")


def unexamined(picture: Picture) -> Iterator[Finding]:
    """Tell of hosts that answered and yet could not be examined, or not all of it."""
    for host, fault in picture.examined.items():
        if isinstance(fault, Examination):
            for part, why in fault.unseen.items():
                yield Finding("examined", host, "unseen", f"{part}: {why}", f"kubewright logs {host} kubelet")
        else:
            yield Finding("examined", host, "unseen", fault.message.removeprefix(f"{host}: "), fault.hint)
