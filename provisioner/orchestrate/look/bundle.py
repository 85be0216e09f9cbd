"""`doctor --bundle`: what somebody needs who helps, in one archive without secrets, with a list of what is inside.

Every text goes through operate/doctor/redact.py, files that hold secrets are not asked for at all.
"""

from __future__ import annotations

import io
import json
import platform
import tarfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from provisioner.errors import KubewrightError
from provisioner.model.components import units_on
from provisioner.model.desired import File
from provisioner.model.own_version import own_version
from provisioner.operate.doctor.redact import redacted
from provisioner.operate.logs import Line, read
from provisioner.orchestrate.look.doctor import Checkup
from provisioner.orchestrate.session import private
from provisioner.orchestrate.session.session import Session
from provisioner.transport.hosts import OneHost

SINCE = "1h"
LINES = 2000            # of one unit's journal
JOURNAL = 256 * 1024    # bytes of one unit's journal, its newest
EVENTS = 1 << 20        # bytes of the newest run's events, its last
TOTAL = 64 << 20        # bytes of all texts: a hundred hosts' journals would be more than anybody reads
MANIFEST = "MANIFEST.txt"
Texts = dict[str, str]


@dataclass
class Bundle:
    """The texts by their path in the archive, each without secrets, and what was left out, with why."""

    texts: Texts = field(default_factory=dict)
    masked: dict[str, int] = field(default_factory=dict)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    size: int = 0

    def add(self, name: str, text: str) -> None:
        """Put a text in, without what looks like a secret; beyond TOTAL it is left out, and that is told."""
        clean, count = redacted(text)
        if self.size + len(clean) > TOTAL:
            self.left_out.append((name, f"the bundle holds {TOTAL >> 20} MiB already"))
            return
        self.size += len(clean)
        self.texts[name] = clean
        if count:
            self.masked[name] = count

    def manifest(self, cluster: str) -> str:
        """Return the list of what is inside."""
        rows = [f"{len(text.encode()):>9}  {name}" + (f"  ({self.masked[name]} masked)" if name in self.masked else "")
                for name, text in sorted(self.texts.items())]
        out = [f"{name}: {why}" for name, why in self.left_out]
        return "\n".join([
            f"Cluster {cluster}, {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}. Read only; nothing was changed.",
            "Inside are names and addresses of hosts, our configuration, and journals of our units. Private keys,",
            "tokens and passwords are neither asked for nor kept; what looks like one is masked.",
            "Look before you send it.", "",
            "    bytes  what", *rows, "", "Left out:", *(out or ["nothing"]), ""])


def write(session: Session, seen: Checkup, file: Path) -> list[str]:
    """Write the archive, 0600 from its first moment and whole or not at all; return what to tell of it.

    Raises UsageFault where it cannot be written.
    """
    bundle = gather(session, seen)
    texts = {MANIFEST: bundle.manifest(session.cluster.cluster), **dict(sorted(bundle.texts.items()))}
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
        for name, text in texts.items():
            data = text.encode(errors="replace")
            member = tarfile.TarInfo(f"kubewright-{session.cluster.cluster}/{name}")
            member.size, member.mode, member.mtime = len(data), 0o600, int(time.time())
            tar.addfile(member, io.BytesIO(data))
    private.write(file, archive.getvalue(), "the bundle")
    left = f", {len(bundle.left_out)} left out" if bundle.left_out else ""
    return [f"{file}: {len(texts)} files, {len(archive.getvalue()) / 1e6:.1f} MB, {sum(bundle.masked.values())} values "
            f"masked{left}; {MANIFEST} lists them. Look before you send it."]


def gather(session: Session, seen: Checkup) -> Bundle:
    """Return everything that belongs in, asked of the hosts where it is not known yet."""
    bundle = Bundle()
    bundle.add("doctor.json", _json({"schema_version": 1, **seen.to_json()}))
    bundle.add("status.json", _json({"schema_version": 1, **seen.status.to_json()}))
    bundle.add("versions.json", _json(_versions(session)))
    for name, file in (("cluster.yaml", session.target.inventory.file),
                       ("artifacts.lock", session.target.inventory.artifacts_lock_path)):
        _add_file(bundle, f"inventory/{name}", file)
    _add_events(bundle, session.target.inventory.runs_dir)
    for host, examined in seen.picture.hosts.items():
        bundle.add(f"hosts/{host}/examined.json", _json(asdict(examined)))
    for host in session.observed:
        for path, text in _files(session, host):
            bundle.add(f"hosts/{host}/files{path}", text)
    _add_journals(bundle, session)
    for host, fault in session.unreachable.items():
        bundle.left_out.append((f"hosts/{host}", fault.message))
    bundle.left_out.append(("private keys, tokens and the encryption of Secrets", "secrets"))
    return bundle


def _json(document: Any) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False, default=str) + "\n"


def _versions(session: Session) -> dict[str, Any]:
    hosts = {host: {"os": f"{seen.facts.os_id} {seen.facts.os_version}", "kernel": seen.facts.kernel,
                    "arch": seen.facts.arch, "python": seen.facts.python, "cgroup": seen.facts.cgroup,
                    "cpus": seen.facts.cpus, "memory_mib": seen.facts.memory_mib}
             for host, seen in session.observed.items()}
    return {"kubewright": own_version(), "python": platform.python_version(),
            "kubernetes": session.cluster.kubernetes, "hosts": hosts}


def _add_file(bundle: Bundle, name: str, file: Path) -> None:
    try:
        bundle.add(name, file.read_text(encoding="utf-8", errors="replace"))
    except OSError as fault:
        bundle.left_out.append((name, fault.strerror or "not readable"))


def _add_events(bundle: Bundle, runs: Path) -> None:
    """Add what the newest run told, its last part where it is long."""
    newest = max(runs.glob("*/events.jsonl"), key=lambda file: file.stat().st_mtime, default=None)
    if newest is None:
        bundle.left_out.append(("run/events.jsonl", "no run is recorded here"))
        return
    try:
        text = newest.read_text(encoding="utf-8", errors="replace")
    except OSError as fault:
        bundle.left_out.append(("run/events.jsonl", fault.strerror or "not readable"))
        return
    bundle.add(f"run/{newest.parent.name}.jsonl", _last(text, EVENTS))


def _last(text: str, size: int) -> str:
    """Return the last whole lines of a text that fit."""
    return text if len(text) <= size else text[-size:].partition("\n")[2]


def _files(session: Session, host: str) -> Iterator[tuple[str, str]]:
    """Yield our files on a host as they are there, but for those that hold a secret: of these no bytes are known."""
    for item in session.the_plan.desired.hosts[host].items:
        if isinstance(item, File) and item.secret is None:
            text = session.observed[host].extra(item.kind, item.path).get("text")
            if text is not None:
                yield item.path, str(text)


def _add_journals(bundle: Bundle, session: Session) -> None:
    """Add the last hour of every unit of ours, all hosts at once; what cannot be read is told as left out."""
    outcomes = session.hosts.map(lambda one: _journals(session, one), session.observed, patient=False)
    for host, outcome in outcomes.items():
        if isinstance(outcome, KubewrightError):
            bundle.left_out.append((f"hosts/{host}/journal", outcome.message))
            continue
        for unit, text in outcome.items():
            bundle.add(f"hosts/{host}/journal/{unit}.log", _last(text, JOURNAL))


def _journals(session: Session, one: OneHost) -> Texts:
    found: Texts = {}
    for unit in units_on(session.cluster, session.cluster.machine(one.name), session.system_of(one.name)):
        lines: list[str] = []
        try:
            read(one, unit, lambda line, to=lines: to.append(_line(line)), lines=LINES, since=SINCE)  # type: ignore[misc]
        except KubewrightError as fault:
            lines = [f"(not read: {fault.message})"]
        found[unit] = "\n".join(lines) + "\n"
    return found


def _line(line: Line) -> str:
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(line.time))
    return f"{moment} {line.process}[{line.pid}] {line.message}"
