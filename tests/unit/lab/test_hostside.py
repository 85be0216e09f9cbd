"""What lab tests read from nodes is bytes, whatever they are."""

from __future__ import annotations

import pytest

from tests.lab import conftest, hostside
from tests.lab.needles import Needles

BYTES = r"before \200\377 key=AAAABBBBCCCCDDDDEEEEFFFF\n"


class Here(conftest.Lab):
    """A lab whose nodes are this machine."""

    def __init__(self) -> None:
        pass

    def entered(self, host: str, *command: str) -> tuple[str, ...]:
        return command

    def argv(self, *arguments: str) -> list[str]:
        return list(arguments)


def test_a_journal_with_bytes_that_are_no_text_is_searched_as_it_is() -> None:
    said = hostside.remote(Here(), "cp1", ["printf", BYTES])
    assert said.encode(errors="surrogateescape").startswith(b"before \x80\xff key=")
    needles = Needles({"key": b"AAAABBBBCCCCDDDDEEEEFFFF"})
    assert needles.within(said.encode(errors="surrogateescape")) == {"key"}


def test_bytes_that_are_no_text_end_no_command_on_a_node_or_here(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Here()
    assert lab.on("cp1", "printf", BYTES).endswith("FFFF\n")
    assert lab.run("printf", BYTES).stdout.endswith("FFFF\n")
    monkeypatch.setattr(conftest.Lab, "kubectl_call", lambda self, *words: ("printf", *words))
    assert lab.kubectl(BYTES).endswith("FFFF\n")


def test_a_command_that_fails_with_bytes_that_are_no_text_is_told() -> None:
    words = ["sh", "-c", r"printf 'no \200' >&2; exit 3"]
    with pytest.raises(AssertionError, match=r"cp1: sh: 3"):
        hostside.remote(Here(), "cp1", words)
