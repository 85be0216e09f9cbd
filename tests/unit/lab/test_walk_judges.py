"""What judges the kill walk on real nodes sees a torn file and a second control plane that is out."""

from __future__ import annotations

import hashlib

from tests.lab.walk.disk import of_bytes, torn
from tests.lab.walk.standing import together

PEM = b"-----BEGIN CERTIFICATE-----\nAAAA\nBBB=\n-----END CERTIFICATE-----\n"


def test_a_file_is_torn_unless_it_is_as_before_or_as_later() -> None:
    before, after = {"a": "old", "b": "old", "gone": "old"}, {"a": "new", "b": "new", "c": "new"}
    assert torn(before, {"a": "old", "b": "new", "c": "new"}, after) == []
    assert torn(before, {"a": "half", "d": "half"}, after) == ["a: half", "d: half"]


def test_half_a_certificate_is_torn_whatever_it_becomes() -> None:
    name = "etc/kubernetes/pki/apiserver.crt"
    states = {count: of_bytes(name, (PEM + PEM)[:count], {}) for count in range(2 * len(PEM) + 1)}
    whole = [count for count, state in states.items() if not torn({}, {name: state}, {})]
    assert whole == [len(PEM), 2 * len(PEM)]


def test_half_of_what_the_applier_notes_is_torn() -> None:
    name = "var/lib/kubewright/steps/s/result.json"
    assert torn({}, {name: of_bytes(name, b'{"step": ', {})}, {}) != []
    assert torn({}, {name: of_bytes(name, b'{"step": 1}', {})}, {}) == []


def test_a_file_of_a_package_is_whole_only_with_the_package_s_bytes() -> None:
    name, noted = "etc/haproxy/haproxy.cfg", {"etc/haproxy/haproxy.cfg": hashlib.md5(b"theirs").hexdigest()}  # noqa: S324
    assert torn({}, {name: of_bytes(name, b"theirs", noted)}, {}) == []
    assert torn({}, {name: of_bytes(name, b"their", noted)}, {}) != []


def test_control_planes_that_are_out_one_after_the_other_are_one_at_a_time() -> None:
    assert together({"cp1": [(0, 2), (0, 3)], "cp2": [(4, 5)]}) == (1, ["cp1"])
    assert together({"cp1": [(0, 2), (0, 3)], "cp2": [(3, 5)]}) == (2, ["cp1", "cp2"])
    assert together({}) == (0, [])
