"""dnf with rpm, on RHEL and what is rebuilt from it: dnf 4, whose tables are read as they are in C's language."""

from __future__ import annotations

import configparser
import os
import re
import time
from typing import Any, Callable, Collection, Iterator, Mapping, NamedTuple, Optional, Sequence

from . import apt
from .host import Fault, Host
from .managers import Brought, Manager, Would

# dnf leaves its process in these while it is at work (dnf/lock.py); rpm takes the last as fcntl(2) does.
PID_FILES = ("/var/lib/dnf/rpmdb_lock.pid", "/var/cache/dnf/metadata_lock.pid", "/var/cache/dnf/download_lock.pid")
RPM_LOCK = "/var/lib/rpm/.rpm.lock"
REPOSITORIES, SETTINGS = "/etc/yum.repos.d", "/etc/dnf/dnf.conf"
VARIABLES = ("/etc/dnf/vars", "/etc/yum/vars")
LOCKED = "/etc/dnf/plugins/versionlock.list"
# Newer than the boot, they ask for another: NEED_REBOOT of dnf's plugin needs_restarting, which need not be there.
REBOOT_FOR = ("kernel", "kernel-core", "kernel-rt", "glibc", "linux-firmware", "systemd", "dbus", "dbus-broker",
              "dbus-daemon", "microcode_ctl")
SEVERAL = ("kernel", "kmod", "gpg-pubkey")      # of these, several versions stand side by side on purpose
CONFIG = 1              # RPMFILE_CONFIG
SECONDS = 60.0          # for what is answered without a network
UPDATE_SECONDS = 240
_DNF = ("env", "LC_ALL=C", "dnf")
_OFFLINE = (*_DNF, "--cacheonly")
_HERE = (*_OFFLINE, "--disablerepo=*")
_UPDATE = (*_DNF, "--refresh", "--setopt=timeout=15", "--setopt=retries=1", "makecache")
_PASSING = (*_OFFLINE, "--setopt=*.skip_if_unavailable=True")     # over sources of which there is no list
INSTALL = (*_PASSING, "--assumeno", "--setopt=install_weak_deps=False", "install")
UPGRADE = (*_OFFLINE, "--assumeno", "upgrade")
# Without --noautoremove what nobody else needs would go too, ours or not.
REMOVE = (*_HERE, "--noautoremove", "remove")


class Row(NamedTuple):
    """A package of a transaction: in which part of dnf's table, from where, and what it takes the place of."""

    part: str
    name: str
    version: str
    repository: str
    replaces: tuple[str, ...]


class Dnf(Manager):
    """dnf's and rpm's own programs, files and locks."""

    def states(self, host: Host, names: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Ask rpm who provides these: curl-minimal is a curl, and the two exclude each other."""
        form = "--queryformat=%{NAME}\t%{EVR}\t[%{PROVIDENAME} ]\n"
        text = host.run(["rpm", "-q", form, "--whatprovides", *names], check=False) if names else ""
        rows = [line.split("\t") for line in text.splitlines() if line.count("\t") == 2]
        return {name: ("installed", row[1]) for name in names for row in rows if name in row[2].split()}

    def installed(self, host: Host) -> set[str]:
        return set(host.run(["rpm", "-qa", "--queryformat=%{NAME}\n"], timeout=SECONDS).split()) - {"gpg-pubkey"}

    def automatic(self, host: Host) -> set[str]:
        """Return what dnf's history has as brought for others."""
        text = host.run([*_HERE, "-q", "repoquery", "--installed", "--queryformat=%{name} %{reason}"], timeout=SECONDS)
        pairs = (line.partition(" ") for line in text.splitlines())
        return {name for name, _, reason in pairs if reason.lower().endswith("dependency")}

    def wait(self, host: Host, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while True:
            held = self.holder(host)
            if held is None:
                return
            if time.monotonic() > deadline:
                raise Fault(f"{held[0]}: held by process {held[1]} ({held[2]}) for {seconds:g} s")
            time.sleep(0.2)

    def going(self, host: Host, names: Collection[str], seconds: float) -> set[str]:
        said = host.said([*REMOVE, "--assumeno", *sorted(names)], timeout=seconds)
        found = {row.name for row in transaction(said) if row.part.startswith("Removing")}
        if not found >= set(names):
            raise Fault(f"dnf remove {' '.join(sorted(names))}: {_last(said)}")
        return found

    def remove(self, host: Host, names: Collection[str], seconds: float) -> None:
        """Remove packages; settings that somebody changed stay beside their names, as .rpmsave."""
        host.run([*REMOVE, "--assumeyes", *sorted(names)], timeout=seconds)

    def brought(self, host: Host, paths: Sequence[str]) -> dict[str, Brought]:
        form = "--queryformat=[%{=NAME}\t%{FILEFLAGS}\t%{FILEDIGESTS}\t%{FILENAMES}\n]"
        return configuration(host.run(["rpm", "-q", form, "--file", *paths], check=False), paths)

    def holder(self, host: Host) -> Optional[list[Any]]:
        for path in PID_FILES:
            pid = (host.text(path) or "").strip()
            program = (host.text(f"/proc/{pid}/comm") or "").strip() if pid.isdigit() else ""
            if program:         # else it was killed, and dnf will not mind
                return [path, int(pid), program]
        return apt.lock_holder(host, RPM_LOCK) or None

    def half(self, host: Host) -> list[str]:
        """Return what is there twice: an upgrade was ended between the new one's coming and the old one's going.

        One that was being installed is not in rpm's list yet; it is installed like one that is missing.
        """
        return doubles(host.run(["rpm", "-qa", "--queryformat=%{NAME}.%{ARCH}\n"], timeout=SECONDS))

    def would_install(self, host: Host, names: Sequence[str]) -> Optional[Would]:
        """The addresses are where the lists come from that name these and what they need: packages lie beside them.

        Where dnf finds no way to install them, what is missing may be in any list: of all that are on.
        """
        try:
            text = host.run([*_PASSING, "-q", "repoquery", "--queryformat=%{name}", *names], timeout=SECONDS)
        except Fault:       # there are no lists yet
            return None
        if not set(names) <= set(text.split()):
            return None
        rows = transaction(host.said([*INSTALL, *names], timeout=SECONDS))
        removed = {row.name for row in rows if row.part.startswith("Removing")}
        used = {row.repository for row in rows if not row.part.startswith("Removing")}
        return Would(_sources(host, used) if used else self.sources(host),
                     sorted(removed.union(*(row.replaces for row in rows))))

    def sources(self, host: Host) -> list[str]:
        return _sources(host, None)

    def proxied(self, host: Host) -> bool:
        files = [SETTINGS, *(f"{REPOSITORIES}/{name}" for name in _names(host.at(REPOSITORIES)))]
        return any(section.get("proxy", "") not in ("", "_none_")
                   for file in files for section in _sections(host.text(file) or ""))

    def refresh(self, host: Host) -> bool:
        host.run(_UPDATE, timeout=UPDATE_SECONDS)       # dnf itself waits for another's lock
        return True

    def of_system(self, host: Host) -> dict[str, Callable[[], Any]]:
        return {
            "required": lambda: bool(self._asks_for_reboot(host)),
            "by": lambda: self._asks_for_reboot(host),
            "newer": lambda: self._newer(host),
            "held": lambda: [*locked(host.text(LOCKED) or ""), *excluded(host.text(SETTINGS) or "")],
            "automatic": lambda: sorted(self.automatic(host)),
            "half": lambda: self.half(host),
        }

    def _asks_for_reboot(self, host: Host) -> list[str]:
        form = "--queryformat=%{NAME} %{INSTALLTIME}\n"
        return newer_than_boot(host.text("/proc/stat") or "", host.run(["rpm", "-q", form, *REBOOT_FOR], check=False))

    def _newer(self, host: Host) -> list[list[str]]:
        said = host.said(UPGRADE, timeout=SECONDS)
        if not any(words in said for words in ("Dependencies resolved.", "Nothing to do.")):
            raise Fault(f"dnf upgrade: {_last(said)}")
        there = host.run(["rpm", "-qa", "--queryformat=%{INSTALLTIME}\t%{NAME}\t%{EVR}\n"], timeout=SECONDS)
        return newer(transaction(said), there)


def transaction(said: str) -> list[Row]:
    """Read the table of what dnf would do: parts with a heading, rows of name, architecture, version and source.

    A row that is too long for the line goes on in the next, further in; so does what it takes the place of.
    """
    found: list[tuple[str, list[str], list[str]]] = []
    part = ""
    for line in said.splitlines():
        if re.fullmatch(r"[A-Z][\w ]*:", line):
            part = line[:-1]
        elif not line.strip() or line.startswith("Transaction Summary"):
            part = "" if line.strip() else part
        elif part and re.match(r" +replacing ", line):
            found[-1][2].append(line.split()[1].rpartition(".")[0])
        elif part and re.match(r" \S", line):
            found.append((part, line.split(), []))
        elif part and line.startswith("  ") and found:
            found[-1][1].extend(line.split())
    return [Row(part, words[0], words[2], words[3], tuple(replaces))
            for part, words, replaces in found if len(words) > 3]


def newer(rows: Sequence[Row], there: str) -> list[list[str]]:
    """Return [name, version now, then] of what comes; one that would take the place of another package is left out.

    `there` has when each was installed, its name and version: of several, the last that came.
    """
    now = {name: version for _, name, version in sorted(
        (int(when), name, version) for when, name, version in (line.split("\t") for line in there.splitlines()))}
    wanted = {row.name: row.version for row in rows
              if row.part.startswith(("Installing", "Upgrading")) and not row.replaces}
    return [[name, now.get(name, ""), version] for name, version in wanted.items()]


def configuration(text: str, paths: Collection[str]) -> dict[str, Brought]:
    """Read rpm's package, flags, digest and name of files: those of `paths` that are settings."""
    found = {}
    for line in text.splitlines():
        words = line.split("\t")
        if len(words) == 4 and words[3] in paths and int(words[1]) & CONFIG:
            found[words[3]] = Brought(words[0], "sha256" if len(words[2]) == 64 else "md5", words[2])
    return found


def doubles(text: str) -> list[str]:
    """Return which names with their architecture are there more than once, and should not be."""
    names = text.split()
    return sorted({name.rpartition(".")[0] for name in names
                   if names.count(name) > 1 and not name.startswith(SEVERAL)})


def repositories(text: str, variables: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield name and an address of each repository that is on; not one whose host a plugin of dnf is to name, nor a
    directory that only dnf can name.
    """
    for section in _sections(text):
        if section.get("enabled", "1").strip().lower() in ("0", "no", "false"):
            continue
        bases = section.get("baseurl", "").replace(",", " ").split()
        place = f"{bases[0].rstrip('/')}/repodata/repomd.xml" if bases else (
            section.get("metalink", "") or section.get("mirrorlist", ""))
        for name, value in sorted(variables.items(), key=lambda pair: -len(pair[0])):
            place = place.replace(f"${{{name}}}", value).replace(f"${name}", value)
        server = place.partition("://")[2].partition("/")[0]
        if place and "$" not in (server or place) and server == server.lower():
            yield section.name, place


def _sources(host: Host, only: Optional[Collection[str]]) -> list[str]:
    """Return an address of each repository that is on, of `only` these where that is said."""
    variables = {name: (host.text(f"{place}/{name}") or "").strip()
                 for place in VARIABLES for name in _names(host.at(place))}
    return [url for file in _names(host.at(REPOSITORIES)) if file.endswith(".repo")
            for name, url in repositories(host.text(f"{REPOSITORIES}/{file}") or "", variables)
            if only is None or name in only]


def locked(text: str) -> list[str]:
    """Return what the plugin versionlock holds, as its list has it."""
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith(("#", "!"))]


def excluded(text: str) -> list[str]:
    """Return what dnf's own settings keep out of every upgrade."""
    return [name for section in _sections(text) for key in ("exclude", "excludepkgs")
            for name in section.get(key, "").replace(",", " ").split()]


def newer_than_boot(stat: str, installed: str) -> list[str]:
    """Return which packages came after the machine booted, by /proc/stat and rpm's name and time of each."""
    booted = next((int(line.split()[1]) for line in stat.splitlines() if line.startswith("btime ")), None)
    if booted is None:
        raise Fault("/proc/stat does not say when it booted")
    pairs = (line.split() for line in installed.splitlines())
    return sorted({pair[0] for pair in pairs if len(pair) == 2 and pair[1].isdigit() and int(pair[1]) > booted})


def _sections(text: str) -> Iterator[configparser.SectionProxy]:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(text)
    except configparser.Error:
        return
    yield from (parser[name] for name in parser.sections())


def _names(place: str) -> list[str]:
    try:
        return sorted(os.listdir(place))
    except OSError:
        return []


def _last(said: str) -> str:
    return (said.strip().splitlines() or ["it says nothing"])[-1]
