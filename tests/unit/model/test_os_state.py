"""What apt says that it would install, as it was printed by apt 2.2 to 3.0, as values."""

from __future__ import annotations

from provisioner.model.os_state import Newer, OsState, newer_of

SAID = """\
NOTE: This is only a simulation!
Reading package lists...
Calculating upgrade...
The following NEW packages will be installed:
  linux-image-6.1.0-25-amd64
The following packages have been kept back:
  haproxy
The following packages will be upgraded:
  libc6 linux-image-amd64 runc
Inst libc6 [2.36-9+deb12u7] (2.36-9+deb12u8 Debian:12.7/stable [amd64]) [libc6:amd64 ]
Conf libc6 (2.36-9+deb12u8 Debian:12.7/stable [amd64])
Inst linux-image-6.1.0-25-amd64 (6.1.106-3 Debian-Security:12/stable-security [amd64])
Inst linux-image-amd64 [6.1.99-1] (6.1.106-3 Debian-Security:12/stable-security [amd64])
Inst tool [1] (2 local [all])
Conf linux-image-amd64 (6.1.106-3 Debian-Security:12/stable-security [amd64])
"""


def test_each_package_has_its_versions_and_what_comes_anew_has_none_before() -> None:
    assert newer_of(SAID) == (
        Newer("libc6", "2.36-9+deb12u7", "2.36-9+deb12u8"), Newer("linux-image-6.1.0-25-amd64", "", "6.1.106-3"),
        Newer("linux-image-amd64", "6.1.99-1", "6.1.106-3"), Newer("tool", "1", "2"))
    assert newer_of("0 upgraded, 0 newly installed, 0 to remove and 3 not upgraded.\n") == ()


def test_what_could_not_be_asked_is_named_and_is_nothing_else() -> None:
    state = OsState.of_answer({"boot": "b", "required": False, "unseen": {"would": "apt-get: not found on this host"}})
    assert (state.boot, state.newer, state.required) == ("b", (), False)
    assert state.unseen == {"would": "apt-get: not found on this host"}
