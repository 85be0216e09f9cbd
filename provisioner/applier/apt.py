"""apt with dpkg, on Debian and Ubuntu."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import time
from typing import Any, Callable, Collection, Optional, Sequence

from .host import Fault, Host
from .managers import DPKG_STATUS, Brought, Manager, Would

LOCK = "/var/lib/dpkg/lock-frontend"
LOCKS = (LOCK, "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock")
HALF = ("half-installed", "half-configured", "unpacked", "triggers-awaited")
GONE = ("not-installed", "config-files")
REQUIRED, BY = "/run/reboot-required", "/run/reboot-required.pkgs"
SECONDS = 30.0          # for what apt answers from its own lists
UPDATE_SECONDS = 240    # for apt-get update: 15 s a source and try
PATIENCE = 60.0         # seconds that another's lock on the lists is waited for
INSTALL = ("apt-get", "-y", "--no-install-recommends", "--print-uris", "install")
SIMULATE = ("apt-get", "-s", "-q", "-y", "-o", "Debug::NoLocking=1", "--no-install-recommends", "install")
UPDATE = ("apt-get", "--print-uris", "update")
_PURGE = ("apt-get", "-o", "DPkg::Lock::Timeout=600")
_UPDATE = ("apt-get", "-q", "-o", "Acquire::http::Timeout=15", "-o", "Acquire::https::Timeout=15",
           "-o", "Acquire::Retries=1", "update")
# What `apt upgrade` does: new packages may come with the others, none goes.
_WOULD = ("env", "LC_ALL=C", "apt-get", "-s", "-q", "-o", "Debug::NoLocking=1", "--with-new-pkgs", "upgrade")
_FLOCK = "hhqqi4x"      # fcntl(2)'s struct flock on 64-bit machines: type, whence, start, length, process


class Apt(Manager):
    """apt's and dpkg's own programs, files and locks."""

    def states(self, host: Host, names: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Ask dpkg once for all packages; those it does not know make it exit 1 and are simply not in the answer."""
        if not names:
            return {}
        form = "--showformat=${Package}\t${db:Status-Status}\t${Version}\n"
        text = host.run(["dpkg-query", "--show", form, "--", *names], check=False)
        found: dict[str, tuple[str, str]] = {}
        for name, status, version in (line.split("\t") for line in text.splitlines()):
            # The same name may be there for a second architecture.
            if status not in GONE and found.get(name, ("", ""))[0] != "installed":
                found[name] = (status, version)
        return found

    def installed(self, host: Host) -> set[str]:
        try:
            text = host.run(["dpkg-query", "--show", "--showformat=${db:Status-Status}\t${Package}\n"])
        except Fault:
            return set()        # neither Debian nor RHEL: nothing of ours can have come as a package
        pairs = (line.partition("\t") for line in text.splitlines())
        return {name for status, _, name in pairs if status not in GONE}

    def automatic(self, host: Host) -> set[str]:
        return set(host.run(["apt-mark", "showauto"]).split())

    def wait(self, host: Host, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        with contextlib.suppress(FileNotFoundError), open(host.at(LOCK), "r+b") as lock:
            while True:
                try:
                    fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return
                except OSError as held:
                    if held.errno not in (errno.EACCES, errno.EAGAIN) or time.monotonic() > deadline:
                        raise Fault(f"{LOCK}: {held.strerror} for {seconds:g} s") from None
                time.sleep(0.2)

    def going(self, host: Host, names: Collection[str], seconds: float) -> set[str]:
        return removals(host.run([*_PURGE, "--simulate", "purge", *sorted(names)], timeout=seconds))

    def remove(self, host: Host, names: Collection[str], seconds: float) -> None:
        """Remove packages with their settings."""
        host.run([*_PURGE, "--yes", "purge", *sorted(names)], timeout=seconds)

    def brought(self, host: Host, paths: Sequence[str]) -> dict[str, Brought]:
        """Return what dpkg remembers of all configuration files, by MD5."""
        form = "--showformat=${Package}\n${Conffiles}\n"
        found: dict[str, Brought] = {}
        package = ""
        for line in host.run(["dpkg-query", "--show", form], check=False).splitlines():
            if line.startswith(" "):
                words = line.split()
                found[words[0]] = Brought(package, "md5", words[1])
            elif line:
                package = line
        return found

    def holder(self, host: Host) -> Optional[list[Any]]:
        return next((row for row in (lock_holder(host, path) for path in LOCKS) if row), None)

    def half(self, host: Host) -> list[str]:
        return half_done(host.text(DPKG_STATUS) or "")

    def would_install(self, host: Host, names: Sequence[str]) -> Optional[Would]:
        places = _uris(host, [*INSTALL, *names])
        if places is None:
            return None
        said = host.run([*SIMULATE, *names], timeout=SECONDS, check=False)
        return Would(places, sorted(removals(said)))

    def sources(self, host: Host) -> list[str]:
        return _uris(host, UPDATE) or []

    def proxied(self, host: Host) -> bool:
        try:
            settings = host.run(["apt-config", "dump"], timeout=SECONDS)
        except Fault:
            return False
        lines = [line.rstrip(";").replace('"', "") for line in settings.splitlines()]
        return any("::proxy" in name.lower() and value.strip() not in ("", "DIRECT")
                   for name, _, value in (line.partition(" ") for line in lines))

    def refresh(self, host: Host) -> bool:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                host.run(_UPDATE, timeout=UPDATE_SECONDS)
                return True
            except Fault as fault:
                if "lists/lock" not in str(fault) or time.monotonic() > end:
                    raise
            time.sleep(1.0)

    def of_system(self, host: Host) -> dict[str, Callable[[], Any]]:
        return {
            "required": lambda: os.path.exists(host.at(REQUIRED)),
            "by": lambda: sorted(set((host.text(BY) or "").split())),
            "would": lambda: host.run(_WOULD, timeout=60),
            "held": lambda: host.run(["apt-mark", "showhold"]).split(),
            "automatic": lambda: host.run(["apt-mark", "showauto"]).split(),
            "half": lambda: self.half(host),
        }


def lock_holder(host: Host, path: str) -> list[Any]:
    """Return [file, pid, program] of who holds a lock of fcntl(2); to ask takes none."""
    try:
        with open(host.at(path), "rb") as stream:
            asked = struct.pack(_FLOCK, fcntl.F_WRLCK, 0, 0, 0, 0)
            kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(stream, fcntl.F_GETLK, asked))
    except FileNotFoundError:
        return []
    return [] if kind == fcntl.F_UNLCK else [path, pid, (host.text(f"/proc/{pid}/comm") or "").strip()]


def half_done(status: str) -> list[str]:
    """Return the packages of dpkg's status file that are neither installed nor gone."""
    found, name = [], ""
    for line in status.splitlines():
        if line.startswith("Package: "):
            name = line[9:]
        elif line.startswith("Status: ") and line.split()[-1] in HALF:
            found.append(name)
    return found


def removals(said: str) -> set[str]:
    """Read what `apt-get --simulate` says would be removed."""
    words = (line.split() for line in said.splitlines())
    return {w[1].partition(":")[0] for w in words if len(w) > 1 and w[0] in ("Remv", "Purg")}


def uris(text: str) -> list[str]:
    """Return the addresses of what `apt-get --print-uris` printed: each line begins with one, in quotes."""
    return [line.split("'")[1] for line in text.splitlines() if line.startswith("'") and line.count("'") > 1]


def _uris(host: Host, argv: Sequence[str]) -> Optional[list[str]]:
    """Return what apt would fetch, None where it says that it cannot."""
    try:
        text = host.run(argv, timeout=SECONDS)
    except Fault:
        return None
    return uris(text)
