"""SELinux by the kernel's word: labels where it is on, a module that is there or not, and nothing where it is off."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from provisioner.applier import selinux
from provisioner.applier.host import Fault
from tests.unit.applier.support import FakeHost, file_change
from tests.unit.applier.test_apply import outcomes, perform


@pytest.fixture
def calls(box: FakeHost) -> Path:
    """What semodule and restorecon were called with, which are there; the policy has two modules."""
    programs, log = Path(os.environ["PATH"].partition(":")[0]), box.systemd / "selinux.calls"
    for name, says in (("semodule", "[ $1 != --list ] || echo container kubewright"), ("restorecon", ":")):
        (programs / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {log}\n{says}\n')
        (programs / name).chmod(0o755)
        box.put(f"/usr/sbin/{name}", "")
    log.write_text("")
    return log


def test_what_is_written_is_labelled_where_selinux_is_on_and_only_there(box: FakeHost, calls: Path) -> None:
    assert outcomes(perform(box, file_change("/etc/a", "x"))) == ["done"]
    assert calls.read_text() == ""
    box.put("/sys/fs/selinux/enforce", "0")
    assert outcomes(perform(box, file_change("/etc/b", "x"))) == ["done"]
    assert calls.read_text() == f"restorecon -- {box.path('/etc/b')}\n"


def test_what_a_step_wrote_that_was_killed_before_the_label_is_labelled_by_the_next(box: FakeHost, calls: Path) -> None:
    box.put("/sys/fs/selinux/enforce", "1")
    change = file_change("/etc/b", "x")
    assert outcomes(perform(box, change)) == ["done"]
    calls.write_text("")
    assert outcomes(perform(box, change)) == ["skipped"]
    assert calls.read_text() == f"restorecon -- {box.path('/etc/b')}\n"
    assert outcomes(perform(box, file_change("/etc/none", "", action="remove", want="absent"))) == ["skipped"]
    assert calls.read_text().count("restorecon") == 1, "what is gone has no label"


def test_an_artifact_has_its_label_before_its_name(box: FakeHost, calls: Path) -> None:
    box.put("/sys/fs/selinux/enforce", "1")
    path = box.path("/opt/kubewright/bin/x")
    program = Path(os.environ["PATH"].partition(":")[0]) / "restorecon"
    program.write_text(f'#!/bin/sh\n[ ! -e {path} ] && [ -e "$2" ] && echo "$2" >> {calls}\n')
    wanted = {"path": "/opt/kubewright/bin/x", "sha256": hashlib.sha256(b"x").hexdigest(), "size": 1}
    box.send("store", {"artifacts": [wanted]}, b"x")
    assert path.exists() and Path(calls.read_text().strip()).parent == path.parent


def test_nothing_is_labelled_where_the_program_is_missing(box: FakeHost, calls: Path) -> None:
    box.put("/sys/fs/selinux/enforce", "1")
    box.path("/usr/sbin/restorecon").unlink()
    assert outcomes(perform(box, file_change("/etc/b", "x"))) == ["done"]
    assert calls.read_text() == "", "a container sees the SELinux of a kernel that is not its own"


def test_a_module_is_there_or_not_and_goes_by_its_name(box: FakeHost, calls: Path) -> None:
    assert selinux.module(box.host, "kubewright") == "there", "SELinux is off, and may be on again"
    assert selinux.module(box.host, "kube") == "absent"
    assert selinux.forget(box.host, "kubewright") == "taken out of the policy"
    assert calls.read_text().splitlines()[-1] == "semodule --remove=kubewright"
    box.path("/usr/sbin/semodule").unlink()
    assert selinux.module(box.host, "kubewright") == "absent", "there is no policy"


def test_a_label_that_cannot_be_given_is_a_fault(box: FakeHost, calls: Path) -> None:
    box.put("/sys/fs/selinux/enforce", "1")
    (Path(os.environ["PATH"].partition(":")[0]) / "restorecon").write_text("#!/bin/sh\necho no >&2\nexit 255\n")
    with pytest.raises(Fault, match="restorecon"):
        selinux.label(box.host, ["/etc/a"])


def test_the_programs_that_are_missing_are_named(box: FakeHost) -> None:
    assert selinux.lacks(box.host) == ["semodule", "restorecon"]
    box.put("/usr/sbin/semodule", "")
    box.put("/sbin/restorecon", "")
    assert selinux.lacks(box.host) == []
