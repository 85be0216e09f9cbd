"""Every operator is one user of the API, and no two are the same."""

from __future__ import annotations

import base64
import hashlib

from hypothesis import given
from hypothesis import strategies as st

from provisioner.model.operators import key_of, user_names


def key(number: int) -> str:
    blob = b"".join(len(part).to_bytes(4, "big") + part for part in (b"ssh-ed25519", bytes([number]) * 32))
    return f"ssh-ed25519 {base64.b64encode(blob).decode()}"


def test_the_comment_of_a_key_is_its_person() -> None:
    assert user_names([f"{key(1)} alice@example.org", f"{key(2)}   bob "]) == {
        key(1): "operator:alice@example.org", key(2): "operator:bob"}


def test_a_key_whose_comment_is_no_name_is_known_by_its_fingerprint() -> None:
    digest = hashlib.sha256(base64.b64decode(key(1).split()[1])).digest()
    name = "operator:SHA256:" + base64.b64encode(digest).decode().rstrip("=")
    for comment in ("", "a b", "system:masters", "x" * 55, "{{ x }}"):
        assert user_names([f"{key(1)} {comment}"]) == {key(1): name}, comment


@given(st.lists(st.tuples(st.integers(1, 20), st.sampled_from(["", "ops", "alice", "a b"])), max_size=8))
def test_no_two_keys_are_one_user_and_every_name_fits_a_certificate(lines: list[tuple[int, str]]) -> None:
    operators = list({number: f"{key(number)} {comment}" for number, comment in lines}.values())
    names = user_names(operators)
    assert names.keys() == {key_of(line) for line in operators}
    assert len(set(names.values())) == len(names)
    assert all(len(name) <= 64 for name in names.values())
