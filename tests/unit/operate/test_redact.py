"""What is a secret by its shape is masked wherever it stands, and what is none stays readable."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from provisioner.compile.fields import MASKED
from provisioner.operate.doctor.redact import redacted
from tests.lab.needles import Needles

MEGABYTE = 1 << 20
SOON = 5.0      # seconds of processor time: an expression that is quadratic takes a minute and more
GOLDEN = Path(__file__).parents[2] / "golden" / "lab"


def pem(kind: str) -> bytes:
    make: dict[str, Callable[[], Any]] = {
        "ec": lambda: ec.generate_private_key(ec.SECP256R1()), "rsa": lambda: rsa.generate_private_key(65537, 2048),
        "ed25519": ed25519.Ed25519PrivateKey.generate}
    key = make[kind]()
    form = serialization.PrivateFormat.OpenSSH if kind == "ed25519" else serialization.PrivateFormat.PKCS8
    return bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))


PLACES = ("{}", "I1129 14:51:24 said\n{}\nand went on", '{{"message": "{}"}}', "  key: |\n    {}\n")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ["ec", "rsa", "ed25519"])
def test_a_private_key_is_masked_in_the_clear_in_base64_and_in_json(kind: str, place: str) -> None:
    secret = pem(kind)
    needles = Needles({"key": secret})
    for text in (secret.decode(), json.dumps(secret.decode())[1:-1], base64.b64encode(secret).decode(),
                 base64.b64encode(b"x" + secret).decode(), base64.b64encode(b"xy" + secret).decode(),
                 base64.b64encode(base64.b64encode(secret)).decode()):
        whole = place.format(text)
        assert needles.within(whole.encode()) == {"key"}, "it is there before"
        clean, count = redacted(whole)
        assert needles.within(clean.encode()) == set() and count >= 1, clean
        assert "went on" in clean or "went on" not in whole or text.startswith("-----BEGIN"), "what follows stays"


def test_a_private_key_that_is_cut_off_is_masked_to_the_end() -> None:
    half = pem("rsa").decode()[:800]
    assert redacted(f"before {half}")[0] == f"before -----BEGIN PRIVATE KEY-----{MASKED}"


WORD = base64.b64encode(bytes(range(61, 93))).decode()
SHAPES = [
    f'      secret: {WORD}\n', f'"secret": "{WORD}"', "password: hunter2hunter2", "--token=abcdef.0123456789abcdef",
    "TOKEN=abcdef", f"Authorization: Bearer {WORD}", "authorization: Basic dXNlcjpwYXNz",
    "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW0ifQ.c2lnbmF0dXJl", "https://user:pa55word@registry.example/v2",
    "AGE-SECRET-KEY-1QQPQQPQQPQQPQQPQQPQQPQQPQQPQQPQQPQQPQQPQQPQQPQQPQQ", "client-key-data: LS0tLS1CRUdJTiBFQyBQUklW",
    f"the key is {base64.b64encode(bytes(range(150, 214))).decode()} she said", "db_password='p q r'",
    "api-key: 0123456789abcdef", "kubelet --token abcdef.0123456789abcdef --v=2", "  auth_pass hunter2",
    "ENV DB_PASSWORD hunter2", "machine deb.example login me password hunter2", "http://user:pa@hunter2@proxy:3128/",
    "password: |\n  hunter2\n\n  abcdef\nnext: here", "  - db-password: >-\n      hunter2\n      abcdef",
]


@pytest.mark.parametrize("text", SHAPES)
def test_what_has_the_shape_of_a_secret_is_masked_once_and_again_changes_nothing(text: str) -> None:
    clean, count = redacted(text)
    assert count >= 1 and MASKED in clean, clean
    for secret in ("hunter2", "abcdef", WORD, "dXNlcjpwYXNz", "eyJhbGci", "pa55word", "QQPQQ", "LS0tLS1CRUdJTiBFQyB",
                   "p q r", "0123456789abcdef", "lpeYmZqbnJ2en6Ch"):
        assert secret not in clean
    assert redacted(clean) == (clean, 0)


PLAIN = [
    "I1129 14:51:24.706005 kubelet.go:10 \"Starting\" node=\"w1\"", "tls-private-key-file: /etc/kubernetes/pki/a.key",
    "tlsPrivateKeyFile: /etc/kubernetes/pki/kubelet-server.key", "--service-account-signing-key-file=/etc/x/sa.key",
    "password: |\nnext: here", "kubelet --v=2 --node-ip 10.77.0.11", "its password is asked for", "NOTOKENS here",
    "sha256:" + "ab" * 32, "automountServiceAccountToken: false", "10.77.0.11:6443 is ready",
    "/var/lib/kubelet/pods/93c9f1b1-eba5-4c3b-835a-3c214054859d/volumes/kubernetes.io~projected/kube-api-access-scdqk",
]


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_none_stays_as_it_is(text: str) -> None:
    assert redacted(text) == (text, 0)


def test_a_block_ends_where_the_next_key_begins() -> None:
    clean, _ = redacted("a:\n  password: |\n    one\n    two\n  user: me\n")
    assert yaml.safe_load(clean) == {"a": {"password": f"{MASKED}\n", "user": "me"}}


@pytest.mark.parametrize("piece", [
    "eyJaaaaaaaa-", "eyJaaaaaaaa.", "-token", "--a-", "-", "password: |\n ", "  ", "\n", "://a:b", "://a:", "login ",
    "LOGIN\t", "A_", "PASSWORD ", "token", "secret\"", "-----BEGIN ", "Bearer ", "aA0/", "LS0tLS1CRUdJT", "@"])
def test_a_megabyte_that_somebody_crafts_takes_a_moment(piece: str) -> None:
    text = (piece * MEGABYTE)[:MEGABYTE]
    began = time.process_time()
    redacted(text)
    assert time.process_time() - began < SOON


def test_our_own_files_lose_nothing_but_what_may_be_a_secret() -> None:
    """As they are rendered they hold none: a file that is masked too much helps nobody."""
    lost = {}
    for file in sorted((GOLDEN / "cp1").rglob("*")):
        if file.is_file():
            text = file.read_text(encoding="utf-8", errors="replace")
            clean, count = redacted(text)
            if count:
                lost[str(file.relative_to(GOLDEN))] = [a for a, b in zip(text.splitlines(), clean.splitlines(),
                                                                         strict=False) if a != b]
    # A certificate in base64 looks as a key does, and the token only keeps two clusters' members apart.
    assert set(lost) == {"cp1/etc/kubernetes/pki/front-proxy-ca.crt", "cp1/etc/kubewright/etcd/initial.env"}, lost
    assert yaml.safe_load(redacted((GOLDEN / "cp1/var/lib/kubelet/config.yaml").read_text())[0])
