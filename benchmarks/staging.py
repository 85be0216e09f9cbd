"""Seconds to stage files on 20 hosts over an uplink of 1 Gbit/s, with and without hosts that serve one another.

    .venv/bin/python benchmarks/staging.py [--hosts 20] [--size 200] [--uplink 1000] [--out FILE]

The receivers are the real applier below directories of their own, each behind an sshd of its own on loopback; all that
the operator sends goes through one proxy of ours that lets as many bytes pass as the uplink would. Between receivers
nothing is limited but by this machine. Files are random, so nothing is compressed on the way. Also the processor
seconds of all that takes part: what is sent costs whether it goes out from here or on from a host.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import resource
import selectors
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from provisioner.applier import package  # noqa: E402
from provisioner.model.desired import Artifact  # noqa: E402
from provisioner.orchestrate.phases.spreading import News, spread  # noqa: E402
from provisioner.transport import remote  # noqa: E402
from provisioner.transport.pool import Pool, raise_all  # noqa: E402
from provisioner.transport.remote import SshHosts  # noqa: E402
from provisioner.transport.target import Target  # noqa: E402
from tests.fakes.sshd import Sshd, run_sshd  # noqa: E402
from tests.lab.figures import origin  # noqa: E402

FILES = 20
PIECE = 1 << 17


class Uplink:
    """Passes connections on, and of what goes up through all of them so many bytes a second."""

    def __init__(self, rate: float) -> None:
        self._rate, self._due = rate, 0.0
        self._lock = threading.Lock()
        self.sent = 0

    @contextlib.contextmanager
    def to(self, port: int) -> Iterator[int]:
        """Yield the local port that leads to `port`."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            threading.Thread(target=self._accept, args=(listener, port), daemon=True).start()
            yield int(listener.getsockname()[1])

    def _accept(self, listener: socket.socket, port: int) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", port), 20)
                for one in (near, far):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._pass, args=(near, far, True), daemon=True).start()
                threading.Thread(target=self._pass, args=(far, near, False), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, up: bool) -> None:
        buffer = memoryview(bytearray(PIECE))
        with contextlib.suppress(OSError):
            while got := source.recv_into(buffer):
                if up:
                    self._wait(got)
                sink.sendall(buffer[:got])
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _wait(self, count: int) -> None:
        with self._lock:
            self.sent += count
            self._due = max(self._due, time.monotonic()) + count / self._rate
            left = self._due - time.monotonic()
        with selectors.DefaultSelector() as clock:      # a sleep that is never longer than the uplink needs
            if left > 0:
                clock.select(left)


class Count(News):
    """What hosts gave one another, and what was said of what did not work."""

    def __init__(self) -> None:
        self.between = 0
        self.odds: list[str] = []
        self._lock = threading.Lock()

    def given(self, host: str, item: Artifact) -> None:
        with self._lock:
            self.between += item.size

    def odd(self, host: str, message: str) -> None:
        self.odds.append(message)


def processor_seconds(sshds: Sequence[Sshd]) -> float:
    """Return what this process and all below the sshds have used so far."""
    mine = resource.getrusage(resource.RUSAGE_SELF)
    total = mine.ru_utime + mine.ru_stime
    ticks = os.sysconf("SC_CLK_TCK")
    parents: dict[int, int] = {}
    used: dict[int, float] = {}
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (place / "stat").read_text().rpartition(")")[2].split()
                parents[int(place.name)] = int(fields[1])
                used[int(place.name)] = sum(map(int, fields[11:15])) / ticks
    below = {one.process.pid for one in sshds}
    for _ in range(8):
        below |= {pid for pid, parent in parents.items() if parent in below}
    return total + sum(used.get(pid, 0.0) for pid in below)


def stage(files: dict[Artifact, Path], sshds: Sequence[Sshd], place: Path, *, peers: bool, uplink: float,
          ) -> dict[str, Any]:
    """Bring the files to one host below `place` for each sshd, and tell what it took."""
    shutil.rmtree(place / "hosts", ignore_errors=True)
    link, news = Uplink(uplink), Count()
    with contextlib.ExitStack() as stack:
        targets: dict[str, Target] = {}
        for number, sshd in enumerate(sshds):
            port = stack.enter_context(link.to(sshd.port))
            known = place / f"known{number}"
            known.write_text(sshd.known_hosts.replace(f":{sshd.port} ", f":{port} "), encoding="utf-8")
            targets[f"h{number}"] = Target(f"h{number}", "127.0.0.1", port, "root", "none", sshd.key, known)
            (place / "hosts" / f"h{number}").mkdir(parents=True)
        hosts = SshHosts(stack.enter_context(Pool(targets)))
        hosts.each(lambda one: one.read([]), targets)       # logged in, as in a run
        load, used, began = os.getloadavg()[0], processor_seconds(sshds), time.monotonic()
        if peers:
            raise_all(spread(hosts, dict.fromkeys(targets, files), dict.fromkeys(targets, "127.0.0.1"), news,
                             epoch=None))
        else:
            hosts.each(lambda one: one.store(list(files.items())), targets)
        seconds, cost = time.monotonic() - began, processor_seconds(sshds) - used
    for number in range(len(sshds)):
        whole = sum(p.stat().st_size for p in (place / "hosts" / f"h{number}" / "opt").rglob("f*"))
        assert whole == sum(i.size for i in files), "a host has not got all"
    return {"hosts": len(sshds), "peers": peers, "load_before": round(load, 2), "seconds": round(seconds, 2),
            "uplink_mb": round(link.sent / 1e6, 1), "between_mb": round(news.between / 1e6, 1),
            "processor_seconds": round(cost, 2), "from_here_after_all": news.odds}


def below_roots() -> None:
    """Let each host's applier work below the directory that its sshd names."""
    real = package.argv

    def argv(command: str) -> list[str]:
        return ["sh", "-c", 'exec "$@" --root "$STAGING_ROOT" "$0"', command, *real(command)[:-1]]

    remote.argv = argv      # type: ignore[attr-defined]


def made(place: Path, size: int) -> dict[Artifact, Path]:
    """Return random files of `size` MB together, of different sizes as those of a release are."""
    files: dict[Artifact, Path] = {}
    for number in range(FILES):
        data = os.urandom(int(size * 1e6 * (1 + number) / sum(range(1, FILES + 1))))
        path = place / f"f{number}"
        path.write_bytes(data)
        files[Artifact(path=f"/opt/kubewright/f{number}", phase="stage", sha256=hashlib.sha256(data).hexdigest(),
                       size=len(data), name=path.name, version="1")] = path
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hosts", type=int, default=20)
    parser.add_argument("--size", type=int, default=200, help="MB for each host")
    parser.add_argument("--uplink", type=float, default=1000, help="Mbit/s")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "staging.json")
    options = parser.parse_args()
    rate = options.uplink * 1e6 / 8
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory, contextlib.ExitStack() as stack:
        place = Path(directory)
        files = made(place, options.size)
        sshds = [stack.enter_context(run_sshd(place / f"sshd{n}", f"SetEnv STAGING_ROOT={place}/hosts/h{n}"))
                 for n in range(options.hosts)]
        below_roots()
        runs = [stage(files, of, place, peers=peers, uplink=rate)
                for of, peers in ((sshds[:1], False), (sshds, True), (sshds, False))]
    one, with_peers, without = runs
    result = {
        "command": f"benchmarks/staging.py --hosts {options.hosts} --size {options.size} --uplink {options.uplink:g}",
        **origin(ROOT, "staging.json"), "nproc": os.cpu_count(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()), "stores": "in memory (tmpfs)",
        "times_one": round(with_peers["seconds"] / one["seconds"], 2),
        "times_one_without_peers": round(without["seconds"] / one["seconds"], 2), "runs": runs,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({k: result[k] for k in ("times_one", "times_one_without_peers")}))


if __name__ == "__main__":
    main()
