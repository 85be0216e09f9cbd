"""Outside of any checkout: the wheel installed, then two commands to the plan of five machines, with nothing pinned.

The machines are five sshd's at addresses of a network of their own, all of them this machine, which is only looked at.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import resource
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.test_tutorials import blocks
from tests.fakes.sshd import SSHD, keygen, run_sshd

ROOT = Path(__file__).resolve().parents[2]
ADDRESSES = ("10.99.0.11", "10.99.0.12", "10.99.0.13", "10.99.0.21", "10.99.0.22")
FIVE = f"kubewright init {' '.join(ADDRESSES)} --vip 10.99.0.10 --trust\nkubewright plan\n"

# Where the tests run there may be no systemd; to a machine that never saw us each unit is unknown.
SYSTEMCTL = """#!/usr/bin/python3
import sys
if "--version" in sys.argv:
    print("systemd 252 (252.39)")
else:
    names = [w.partition("=")[2].split(",") for w in sys.argv if w.startswith("--property=")][0]
    known = {"LoadState": "not-found", "ActiveState": "inactive", "SubState": "dead", "NRestarts": "0"}
    block = "".join(f"{name}={known.get(name, '')}\\n" for name in names)
    print("\\n".join(block for _ in sys.argv[sys.argv.index("--") + 1:]), end="")
"""

pytestmark = [pytest.mark.timeout(600),
              pytest.mark.skipif(os.geteuid() != 0, reason="a network of its own needs root"),
              pytest.mark.skipif(not SSHD.exists(), reason="openssh-server is not installed")]


def run(argv: list[str], cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(argv, cwd=cwd, timeout=1200, capture_output=True, text=True, check=False,
                          env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"} | more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def told(program: Path, directory: Path, script: str, addresses: tuple[str, ...] = ADDRESSES) -> str:
    """Run a script in a network of its own and return what stood on the terminal; see `main`.

    Its processes are of a namespace of their own too: it ends with the one that is killed when a test takes too long.
    """
    (directory / "home" / ".ssh").mkdir(parents=True)
    order = json.dumps({"program": str(program), "directory": str(directory), "script": script, "addresses": addresses})
    alone = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return run([*alone, sys.executable, __file__, order], ROOT, PYTHONPATH=str(ROOT)).stdout


def assert_planned(directory: Path, screen: str) -> None:
    assert re.findall(r"^ +((?:cp|w)\d) +10", screen, re.MULTILINE) == ["cp1", "cp2", "cp3", "w1", "w2"]
    assert "Pinned 5 keys" in screen and "note: nothing is pinned yet" in screen
    last = re.search(r"Plan: (\d+) to add, \d+ to change, \d+ to remove on 5 of 5 hosts", screen)
    assert last and int(last[1]) > 500
    left = sorted(p.name for p in (directory / "inventories" / "mine").glob("[!.]*"))
    assert left == ["cluster.yaml", "known_hosts"], "a plan leaves nothing beside what the reader made"


@pytest.fixture(scope="module")
def program(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into an environment of its own, and return its command.

    The libraries are those of this environment, so nothing is fetched; that it points at our checkout is not followed.
    """
    place = tmp_path_factory.mktemp("installed")
    run([sys.executable, "-m", "venv", "--without-pip", str(place / "v")], place)
    (site,) = (place / "v" / "lib").glob("python3*/site-packages")
    ours = next(Path(p) for p in sys.path if p.endswith("site-packages"))
    (site / "libraries.pth").write_text(f"{ours}\n")
    run([sys.executable, "-m", "pip", "--python", str(place / "v"), "install", "--quiet", "--no-index", "--no-deps",
         "--no-compile", "--ignore-installed", str(wheel)], place)
    return place / "v" / "bin" / "kubewright"


def test_the_installed_wheel_plans_five_machines_that_it_was_given_the_addresses_of(
        program: Path, tmp_path: Path) -> None:
    assert_planned(tmp_path, told(program, tmp_path, FIVE))


def test_the_installed_wheel_does_the_first_half_of_the_tutorial(program: Path, tmp_path: Path) -> None:
    page = ROOT / "docs" / "tutorials" / "three-bare-servers.md"
    script = "".join(text for how, _, text in blocks(page) if how == "run by").replace("admin@", "root@")
    assert script.count("kubewright ") == 3 and "pipx" not in script
    screen = told(program, tmp_path, script, ("10.20.0.11", "10.20.0.12", "10.20.0.13"))
    assert "Pinned 3 keys" in screen and re.search(r"Plan: \d+ to add, .* on 3 of 3 hosts", screen)


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_from_a_wheel_alone_to_the_plan_is_three_commands_and_less_than_a_minute_of_work(
        wheel: Path, tmp_path: Path) -> None:
    run([sys.executable, "-m", "venv", str(tmp_path / "v")], tmp_path)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run([str(tmp_path / "v" / "bin" / "pip"), "install", "--quiet", str(wheel)], tmp_path,
        **{k: v for k, v in os.environ.items() if k.startswith(("PIP_", "SSL_", "HTTP", "http", "HOME"))})
    assert_planned(tmp_path, told(tmp_path / "v" / "bin" / "kubewright", tmp_path, FIVE))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime) < 60


def at_a_terminal(argv: list[str], answer: str, cwd: Path, environ: dict[str, str]) -> str:
    """Run a command at a terminal where somebody types `answer`, and return all that stood there."""
    ours, theirs = pty.openpty()
    os.write(ours, answer.encode())
    with subprocess.Popen(argv, cwd=cwd, env=environ, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        end = threading.Timer(300, process.kill)
        end.start()
        seen = b""
        with contextlib.suppress(OSError):          # what a terminal says when nobody is at its other end any more
            while part := os.read(ours, 65536):
                seen += part
        process.wait()
        end.cancel()
    os.close(ours)
    assert process.returncode == 0, seen.decode()
    return seen.decode().replace("\r\n", "\n")


def main(order: dict[str, Any]) -> None:
    """Be the machines and the person: run by the tests in a network namespace that holds nothing else."""
    directory, script = Path(order["directory"]), str(order["script"])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=10)
    public = keygen(directory / "home" / ".ssh" / "id_ed25519")
    path = f"{Path(order['program']).parent}:/usr/bin:/bin:/usr/sbin:/sbin"
    environ = {"PATH": path, "HOME": str(directory / "home"), "LC_ALL": "C.UTF-8"}
    with contextlib.ExitStack() as machines, tempfile.TemporaryDirectory(dir=directory) as keys:
        systemctl = Path(keys) / "bin" / "systemctl"
        systemctl.parent.mkdir()
        systemctl.write_text(SYSTEMCTL)
        systemctl.chmod(0o755)
        force = f'ForceCommand PATH={systemctl.parent}:$PATH exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"'
        for address in order["addresses"]:
            subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True, timeout=10)
            sshd = machines.enter_context(run_sshd(Path(keys) / address, force, addresses=(address,)))
            (sshd.directory / "authorized").write_text(public + "\n")
            script = script.replace(address, f"{address}:{sshd.port}")
        print(at_a_terminal(["bash", "-euc", script], "y\n", directory, environ))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
