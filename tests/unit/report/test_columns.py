"""Tables on the terminal: columns in line, whatever hosts have said."""

from __future__ import annotations

from provisioner.report.columns import in_line


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert list(in_line([("HOST", "API"), ("control-1", "-")])) == ["HOST       API", "control-1  -"]


def test_what_a_host_said_cannot_move_the_cursor_or_begin_a_line() -> None:
    assert list(in_line([("HOST", "VERSION"), ("w1", "v1\x1b[2Jx\n\u202ew2")])) == [
        "HOST  VERSION", "w1    v1\\x1b[2Jx\\n\\u202ew2"]
