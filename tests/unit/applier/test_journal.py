"""A unit's journal, with a journalctl of a few lines of sh that writes down how it was called."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from provisioner.applier import package
from tests.unit.applier.support import FakeHost

LINE = '{"__REALTIME_TIMESTAMP": "1000000", "MESSAGE": "hello"}'


@pytest.fixture
def journalctl(box: FakeHost, tmp_path: Path) -> Path:
    """Put a journalctl into PATH; what it was called with is in the returned file, its process id beside it."""
    calls = tmp_path / "journalctl.calls"
    program = tmp_path / "bin" / "journalctl"
    program.write_text(f"""#!/bin/sh
echo "$*" >> {calls}
case "$*" in
*--output=cat*) case "$*" in *--unit=gone.service*) echo old;; esac; exit 0;;
*--since=never*) echo 'Failed to parse timestamp: never' >&2; exit 1;;
esac
echo '{LINE}'
case "$*" in *--follow*) echo $$ > {calls}.pid; exec sleep 60;; esac
""")
    program.chmod(0o755)
    return calls


def lines_of(box: FakeHost, **request: object) -> list[str]:
    done = box.run("journal", package.frame({"unit": "etcd.service", **request}))
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().splitlines()


def test_the_lines_come_as_journald_writes_them_and_the_answer_after_them(box: FakeHost, journalctl: Path) -> None:
    box.set_units(etcd={})
    assert lines_of(box, lines="3") == [LINE, '{"ended": true}']
    call = journalctl.read_text().splitlines()[-1].split()
    assert {"--unit=etcd.service", "--lines=3", "--output=json", "--no-pager"} <= set(call)
    assert not [word for word in call if word.startswith(("--since", "--follow"))]


def test_an_unknown_unit_is_answered_with_ours(box: FakeHost, journalctl: Path) -> None:
    for unit in ("kubelet.service", "etcd.service"):
        box.put(f"/etc/kubewright/inputs/{unit}", "")
    assert lines_of(box, unit="etdc.service") == [
        '{"unknown": "etdc.service", "ours": ["etcd.service", "kubelet.service"]}']


def test_the_lines_of_a_unit_that_is_gone_are_still_shown(box: FakeHost, journalctl: Path) -> None:
    assert lines_of(box, unit="gone.service")[0] == LINE


def test_what_journalctl_refuses_is_told_in_its_words(box: FakeHost, journalctl: Path) -> None:
    box.set_units(etcd={})
    assert lines_of(box, since="never") == ['{"refused": "Failed to parse timestamp: never"}']


@pytest.mark.parametrize("unit", ["-f", "a b", "../x", "a*", "", None])
def test_what_is_no_units_name_reaches_no_command(box: FakeHost, journalctl: Path, unit: object) -> None:
    done = box.run("journal", package.frame({"unit": unit}))
    assert (done.returncode, journalctl.exists()) == (1, False)
    assert b"not a unit" in done.stderr


def test_a_log_that_is_followed_ends_on_the_host_when_its_reader_goes(box: FakeHost, journalctl: Path) -> None:
    box.set_units(etcd={})
    argv = package.argv("journal")
    process = subprocess.Popen([sys.executable, *argv[1:-1], "--root", str(box.root), "journal"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(package.frame({"unit": "etcd.service", "follow": True}))
    process.stdin.close()
    assert process.stdout.readline().decode().strip() == LINE
    pid = int(wait_for(Path(f"{journalctl}.pid")))
    process.stdout.close()
    assert process.wait(10) == 1
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def wait_for(path: Path) -> str:
    end = time.monotonic() + 60
    while not (path.exists() and path.read_text().strip()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return path.read_text()
