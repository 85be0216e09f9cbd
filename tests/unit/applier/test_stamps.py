from __future__ import annotations

import os
import subprocess

from provisioner.applier import stamps
from tests.unit.applier.support import STAMP, FakeHost

UNIT = "etcd.service"
INPUTS = ["/etc/a file", "/usr/local/bin/etcd", "/etc/dangling link", "/etc/missing", "/etc/dir", "/etc/up",
          "/etc/empty", "/etc/back\\slash and 'quote'"]


def furnish(box: FakeHost) -> None:
    box.put("/etc/a file", "content with\nlines\n")
    box.put("/etc/empty", "")
    box.put("/etc/back\\slash and 'quote'", b"\x00\xff")
    box.put("/opt/kubewright/etcd/3/etcd", "binary")
    box.path("/etc/dir").mkdir()
    box.path("/usr/local/bin").mkdir(parents=True)
    box.path("/usr/local/bin/etcd").symlink_to("/opt/kubewright/etcd/3/etcd")
    box.path("/etc/dangling link").symlink_to("no where")
    box.path("/etc/up").symlink_to("../opt")
    box.put(f"/etc/kubewright/inputs/{UNIT}", "".join(f"{path}\n" for path in INPUTS))


def test_the_shell_program_and_its_python_twin_write_the_same_lines(box: FakeHost) -> None:
    furnish(box)
    box.stamp(UNIT)
    written = stamps.recorded(box.host, UNIT)
    assert written == stamps.lines(box.host, INPUTS, stamps.Sums(box.host))
    assert [line.split()[0] for line in written or []] == [
        "file", "link", "link", "none", "none", "link", "file", "file"]


def test_a_unit_is_current_right_after_its_stamp_and_due_when_any_input_moves(box: FakeHost) -> None:
    furnish(box)
    box.stamp(UNIT)
    assert stamps.compare(box.host, UNIT, INPUTS, stamps.Sums(box.host)) == (True, [])
    box.put("/etc/empty", "x")
    box.path("/usr/local/bin/etcd").unlink()
    box.path("/usr/local/bin/etcd").symlink_to("/opt/kubewright/etcd/4/etcd")
    assert stamps.compare(box.host, UNIT, INPUTS, stamps.Sums(box.host)) == (
        False, ["/usr/local/bin/etcd", "/etc/empty"])


def test_a_unit_whose_list_of_inputs_shrank_is_due_because_of_the_list(box: FakeHost) -> None:
    furnish(box)
    box.stamp(UNIT)
    assert stamps.compare(box.host, UNIT, INPUTS[:-1], stamps.Sums(box.host)) == (
        False, ["/etc/kubewright/inputs/etcd.service"])


def test_a_unit_never_stamped_is_due_without_a_named_cause(box: FakeHost) -> None:
    assert stamps.compare(box.host, UNIT, ["/etc/x"], stamps.Sums(box.host)) == (False, [])


def test_the_stamp_is_replaced_whole_and_readable_by_root_only(box: FakeHost) -> None:
    furnish(box)
    box.stamp(UNIT)
    before = box.path(f"/run/kubewright/started/{UNIT}").stat()
    box.stamp(UNIT)
    after = box.path(f"/run/kubewright/started/{UNIT}").stat()
    assert before.st_ino != after.st_ino
    assert after.st_mode & 0o777 == 0o600
    assert [p.name for p in box.path("/run/kubewright/started").iterdir()] == [UNIT]


def test_a_list_without_a_last_newline_is_read_whole(box: FakeHost) -> None:
    box.put("/etc/x", "1")
    box.put(f"/etc/kubewright/inputs/{UNIT}", "/etc/y\n/etc/x")
    box.stamp(UNIT)
    assert stamps.compare(box.host, UNIT, ["/etc/y", "/etc/x"], stamps.Sums(box.host)) == (True, [])


def test_the_program_refuses_a_unit_that_is_a_path(box: FakeHost) -> None:
    done = subprocess.run(["sh", str(STAMP), "../../etc/passwd"], capture_output=True, check=False,
                          env={**os.environ, "STAMP_ROOT": str(box.root)})
    assert done.returncode == 64
