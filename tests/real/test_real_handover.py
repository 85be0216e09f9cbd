"""The rule by which a host takes nobody new at the VIP, against real connections in a network namespace."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from provisioner.compile.load_balancer import HANDOVER
from provisioner.orchestrate.turn import handover
from tests.real.cable import connected, inside

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("ip", "nft"))), reason="namespaces are root's")
VIP, PEER, PORT = "10.77.0.10", "10.77.0.12", 8443
SERVER = f"""
import socket
with socket.create_server(("{VIP}", {PORT})) as server:
    print("listens", flush=True)
    one, _ = server.accept()
    while (word := one.recv(64)):
        one.sendall(word)
"""
# One connection from before asks on and on; a second one is tried for less than a client takes to try again.
CLIENT = f"""
import socket, sys
one = socket.create_connection(("{VIP}", {PORT}), 5)
for line in sys.stdin:
    one.sendall(b"still there")
    said = one.recv(64).decode()
    try:
        socket.create_connection(("{VIP}", {PORT}), 0.5).close()
        print(said, "taken", flush=True)
    except TimeoutError:
        print(said, "not taken", flush=True)
"""


def test_a_connection_from_before_is_answered_and_a_new_one_has_to_ask_again_until_the_table_goes() -> None:
    with connected("vip", VIP, PEER) as (host, peer), started(host, SERVER) as server:
        assert server.stdout and server.stdout.readline() == "listens\n"
        with started(peer, CLIENT) as client:
            assert ask(client) == "still there taken"
            for _ in range(2):          # it may be there already
                inside(host, "nft", handover.shut(VIP, PORT))
                assert ask(client) == "still there not taken"
            inside(host, "nft", f"delete table {HANDOVER}")
            assert ask(client) == "still there taken"


@contextmanager
def started(namespace: str, text: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(["ip", "netns", "exec", namespace, sys.executable, "-c", text], text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def ask(client: subprocess.Popen[str]) -> str:
    assert client.stdin and client.stdout
    client.stdin.write("\n")
    client.stdin.flush()
    return client.stdout.readline().strip()
