"""Ctrl-C ends a read at once, also while a host that says nothing is waited for; whom it waits for is told."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.fakes.example import copy

ROOT = Path(__file__).parents[3]
PROGRAM = [sys.executable, "-P", "-c",
           "import os, sys; sys.argv[0] = 'kubewright'; import provisioner.begin; os.write(1, b'.')\n"
           "from provisioner.cli.main import run; run()"]
READS = (["plan"], ["check"], ["trust"], ["status"], ["ready"], ["drift"], ["certs", "check"])


@pytest.fixture(scope="module")
def silent() -> Iterator[int]:
    """Give the port of a host that takes connections and never says a word."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=100))
        yield listener.getsockname()[1]


@pytest.fixture
def inventory(tmp_path: Path, silent: int) -> Path:
    """Give an inventory whose hosts all lie behind a jump host that says nothing."""
    copy(tmp_path)
    file = tmp_path / "cluster.yaml"
    document = yaml.safe_load(file.read_text())
    document["ssh"] = {"user": "nobody", "jump": f"nobody@127.0.0.1:{silent}"}
    for host in document["hosts"].values():
        host.pop("ssh", None)
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    (tmp_path / "artifacts.lock").write_bytes((ROOT / "inventories/lab/artifacts.lock").read_bytes())
    return tmp_path


@contextlib.contextmanager
def started(*argv: str, stderr: int = subprocess.PIPE) -> Iterator[subprocess.Popen[bytes]]:
    hidden = {"CI", "NO_COLOR", "SSH_AUTH_SOCK", "KUBEWRIGHT_PROGRESS"}
    environment = {k: v for k, v in os.environ.items() if k not in hidden}
    with subprocess.Popen([*PROGRAM, *argv], stdout=subprocess.PIPE, stderr=stderr, stdin=subprocess.DEVNULL, cwd=ROOT,
                          env={**environment, "PYTHONPATH": str(ROOT), "TERM": "xterm"}) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("words", READS, ids=" ".join)
def test_the_first_ctrl_c_ends_a_read_at_once_while_a_silent_host_is_waited_for(
        inventory: Path, words: list[str]) -> None:
    # A busy machine may make one of them late; a wait for the host would make all of them take 10 s and more.
    took: list[float] = []
    while not took or (took[-1] >= 1.0 and len(took) < 3):
        took.append(interrupted(inventory, words))
    assert took[-1] < 1.0, took


def interrupted(inventory: Path, words: list[str]) -> float:
    """Stop a read that waits, and return the seconds until it had ended as it should."""
    ours, theirs = pty.openpty()
    with started("-i", str(inventory), *words, stderr=theirs) as process:
        os.close(theirs)
        said = seen(ours, b"waiting for")
        assert b"answered, waiting for " in said, "on a terminal it says whom it waits for"
        process.send_signal(signal.SIGINT)
        start = time.monotonic()
        code = process.wait(timeout=60)
        took = time.monotonic() - start
        said = seen(ours, b"no such words")
    os.close(ours)
    assert code == 130
    assert b"Stopped." in said and b"Traceback" not in said
    return took


def seen(terminal: int, words: bytes) -> bytes:
    """Return what the terminal shows up to these words, or all of it."""
    said, end = b"", time.monotonic() + 60
    while words not in said and time.monotonic() < end and select.select([terminal], [], [], 60)[0]:
        try:
            said += os.read(terminal, 4096)
        except OSError:         # nobody writes any more
            break
    return said


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.04, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3])
def test_ctrl_c_while_the_command_is_loading_ends_it_without_a_traceback(inventory: Path, delay: float) -> None:
    with started("-i", str(inventory), "plan") as process:
        assert process.stderr is not None and process.stdout is not None
        assert process.stdout.read(1) == b"."       # Python itself is up
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read().decode()
        assert (process.wait(timeout=20), said) in ((130, ""), (130, "Stopped.\n"))


def test_ctrl_c_is_no_exception_before_the_inventory_is_read_for_its_libraries_would_swallow_it(tmp_path: Path) -> None:
    code = ("import signal, sys; sys.argv[0] = 'kubewright'; from provisioner import begin\n"
            "from provisioner.cli import validate; from provisioner.model.inventory import Inventory\n"
            "def leaves(): return signal.getsignal(signal.SIGINT) is begin.leave\n"
            "def told(path, real=Inventory.open): print('reading', leaves()); return real(path)\n"
            "Inventory.open = told; sys.modules[validate.__name__]._summary = lambda read: f'read {leaves()}'\n"
            "from provisioner.cli.main import run; run()")
    words = ["-i", str(copy(tmp_path)), "validate"]
    done = subprocess.run([sys.executable, "-P", "-c", code, *words], cwd=ROOT, timeout=60,
                          capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
    assert (done.returncode, done.stdout.split("\n")[:2]) == (0, ["reading True", "read False"]), done.stderr


def test_in_a_pipe_a_read_says_nothing_of_whom_it_waits_for(inventory: Path) -> None:
    with started("-i", str(inventory), "plan") as process:
        assert process.stderr is not None
        time.sleep(4)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=20)
        assert b"waiting" not in process.stderr.read()
