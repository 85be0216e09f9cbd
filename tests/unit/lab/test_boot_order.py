"""Who of etcd's members waits for whom when nodes get their power at one moment."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from provisioner.lab import boot_order, disks, nodes
from provisioner.lab.instance import Instance
from provisioner.model.inventory import Inventory
from tests.fakes.sshd import free_port

CLUSTER = Inventory.open(Path(__file__).resolve().parents[3] / "inventories/lab").cluster
CP1, CP2 = "10.77.0.11", "10.77.0.12"
needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed here; the lab's image has it")


@pytest.mark.parametrize(("host", "booting", "waits_for"), [
    ("cp1", ("cp1", "cp2", "cp3", "w1"), ()),
    ("cp3", ("cp1", "cp2", "cp3", "w1"), (CP1, CP2)),
    ("cp3", ("cp3", "cp2"), (CP2,)),
    ("cp3", ("cp3",), ()),                  # alone: the others serve already, or are not coming
    ("w1", ("cp1", "w1"), ()),
])
def test_a_member_waits_for_those_before_it_that_boot_with_it(
    host: str, booting: tuple[str, ...], waits_for: tuple[str, ...],
) -> None:
    assert boot_order.earlier(CLUSTER, host, booting) == waits_for


def test_a_node_that_waits_for_nobody_or_never_was_a_member_boots_as_any_other(tmp_path: Path) -> None:
    instance = Instance("lab", tmp_path)
    for host in ("cp1", "cp2"):
        layer = disks.add_layer(instance, host)
        nodes.write_spec(instance, nodes.NodeSpec(host, CP1, "admin", 22, "image", (layer,)))
    assert boot_order.bind(instance, CLUSTER, "cp2", ("cp1", "cp2")) == (), "its disk is empty"
    for made in disks.layers_dir(instance).iterdir():
        (disks.upper(instance, made.name) / boot_order.DATA).mkdir(parents=True)
    assert boot_order.bind(instance, CLUSTER, "cp1", ("cp1", "cp2")) == ()
    (option,) = boot_order.bind(instance, CLUSTER, "cp2", ("cp1", "cp2"))
    file, inside = option.removeprefix("--bind-ro=").split(":")
    assert inside.startswith("/run/systemd/system/etcd.service.d/")
    assert CP1 in Path(file).read_text()


@contextmanager
def member(directory: Path, *, serves: bool) -> Iterator[tuple[int, list[str]]]:
    """Take connections at a port, and note each; answer where it `serves`, else end them once they are secure."""
    keygen = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
              "-subj", "/CN=x", "-keyout", str(directory / "key"), "-out", str(directory / "crt")]
    subprocess.run(keygen, check=True, capture_output=True)
    came: list[str] = []

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            came.append(self.path)
            if serves:
                self.send_response(200)
                self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answers)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "crt", directory / "key")
    context.load_verify_locations(directory / "crt")
    context.verify_mode = ssl.CERT_REQUIRED     # as a member: who shows none gets no answer
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port, came
    finally:
        server.shutdown()
        server.server_close()


def run(tmp_path: Path, port: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boot_order, "ONCE", str(tmp_path / "once"))
        patch.setattr(boot_order, "LOOKS", 2)
        patch.setattr(boot_order, "ANSWER", 5.0)
        patch.setattr(boot_order, "ETCD_PEER", port)
        patch.setattr(boot_order, "CERTIFICATE", str(tmp_path / "crt"))
        patch.setattr(boot_order, "KEY", str(tmp_path / "key"))
        text = boot_order.drop_in(["127.0.0.1"]).replace("\\\n", "").replace("$$", "$")
    command = text.partition("/bin/sh -c '")[2].rpartition("'")[0]
    assert subprocess.run(["sh", "-c", command], timeout=20, check=False).returncode == 0


@needs_curl
@pytest.mark.parametrize(("serves", "asked"), [(True, 1), (False, 2)])
def test_a_member_serves_when_it_answers_and_not_when_its_port_takes_connections(
        tmp_path: Path, serves: bool, asked: int) -> None:
    with member(tmp_path, serves=serves) as (port, came):
        run(tmp_path, port)
    assert came == ["/version"] * asked


@needs_curl
def test_the_command_waits_once_and_not_for_ever(tmp_path: Path) -> None:
    for _ in range(2):
        run(tmp_path, free_port())
    assert (tmp_path / "once").is_dir()
