"""An error on a terminal: whatever a host has said in it is only read."""

from __future__ import annotations

from provisioner.cli.failure import failure_document, failure_text
from provisioner.errors import Interrupted, Unreachable


def test_an_error_s_lines_stay_lines_and_what_a_terminal_would_obey_is_written_out() -> None:
    err = Unreachable("w1: asking: \x1b[2Jgone", details=["first\nsecond\t\x07", "third"], hint="ls \x9b31m", code="x")
    assert failure_text(err) == (
        "error: w1: asking: \\x1b[2Jgone\nfirst\nsecond  \\x07\nthird\nhint: ls \\x9b31m\ncode: x")
    assert failure_document(err)["error"]["message"] == "w1: asking: \x1b[2Jgone"  # type: ignore[index]


def test_who_asked_to_stop_is_told_in_the_same_way() -> None:
    assert failure_text(Interrupted("stopped\x1b[0m", hint="kubewright resume")) == (
        "stopped\\x1b[0m\nContinue: kubewright resume")
