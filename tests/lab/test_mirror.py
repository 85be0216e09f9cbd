"""Nodes fetch what they lack from a web server that has a bundle's files; what it gives wrongly comes from here."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from provisioner.artifacts.lockfile import load_lock
from provisioner.artifacts.supply import held
from provisioner.lab.network import inside
from tests.lab import shapes
from tests.lab.machines import Lab

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.timeout(900)]
GATEWAY = "10.77.0.1"
HOSTS = ("cp1", "w2")
LARGE = ("find", "/opt/kubewright", "-type", "f", "-size", "+8192k")


class Handler(SimpleHTTPRequestHandler):
    """Serves a directory; says of `absent` that it is not there, and changes a bit of `wrong`."""

    asked: ClassVar[list[str]] = []
    absent = wrong = ""

    def log_message(self, format: str, *args: object) -> None:
        """The test looks at `asked`."""

    def do_GET(self) -> None:
        digest = self.path.rpartition("/")[2]
        self.asked.append(digest)
        if digest == self.absent:
            self.send_error(404)
        elif digest == self.wrong:
            data = bytearray(Path(self.translate_path(self.path)).read_bytes())
            data[len(data) // 2] ^= 1
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        else:
            super().do_GET()


@contextmanager
def serving(lab: Lab, directory: Path) -> Iterator[str]:
    """Serve a directory in the lab's network, and yield its address."""
    with inside(lab.instance.name):
        server = ThreadingHTTPServer((GATEWAY, 0), partial(Handler, directory=str(directory)))
    with server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://{GATEWAY}:{server.server_port}/kw"
        finally:
            server.shutdown()
            thread.join(10)


def staged(lab: Lab, began: float) -> tuple[str, list[str]]:
    """Return what the newest run says that it staged, and what it says beside it."""
    events = lab.events(began)
    (done,) = [e["message"] for e in events if e["type"] == "phase-done" and e["phase"] == "stage"]
    return done, [e["message"] for e in events if e["type"] == "diagnostic" and e.get("phase") == "stage"]


def lose(lab: Lab) -> dict[str, list[str]]:
    """Take the large files of the nodes' stores away, and return their paths; what runs has them open."""
    paths = {host: sorted(lab.on(host, *LARGE).split()) for host in HOSTS}
    for host in HOSTS:
        lab.on(host, *LARGE, "-delete")
    return paths


@pytest.mark.changes
def test_nodes_fetch_from_a_mirror_and_what_it_gives_wrongly_comes_from_here(
        single: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = tmp_path / "kw" / "files"
    files.mkdir(parents=True)
    lock = load_lock(single.directory / "artifacts.lock")
    for digest, path in held(lock).items():
        (files / digest).symlink_to(path)
    with serving(single, tmp_path) as url:
        shapes.write(single, {"artifacts": {"from": url}})
        assert single.run("plan").stdout.startswith("No changes.")
        paths, began = lose(single), time.time()
        with monkeypatch.context() as patch:
            patch.setenv("KUBEWRIGHT_CACHE", str(tmp_path / "empty"))      # none of the files is here
            single.run("up", "--yes")
        said, odd = staged(single, began)
        assert "MB of it from the mirror" in said and odd == [], (said, odd)
        assert {host: sorted(single.on(host, *LARGE).split()) for host in HOSTS} == paths
        assert len(Handler.asked) == sum(map(len, paths.values())) > 8
        assert single.json("plan")["changes"] == []

        Handler.absent = lock.get("kubelet", "amd64").sha256
        Handler.wrong = lock.get("containerd", "amd64").sha256
        lose(single)
        began = time.time()
        single.run("up", "--yes")
        said, odd = staged(single, began)
        assert "MB of it from the mirror" in said
        for host in HOSTS:
            assert [text for text in odd if text.startswith(f"{host}: fetching kubelet ") and "it answered 404" in text]
            assert [text for text in odd if text.startswith(f"{host}: fetching containerd ") and "sha256" in text]
        assert {host: sorted(single.on(host, *LARGE).split()) for host in HOSTS} == paths
        assert single.json("plan")["changes"] == []
