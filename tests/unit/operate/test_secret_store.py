"""The inventory's secrets: made once, private from their first moment, opened by operators and by nobody else."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import stat
import subprocess
from pathlib import Path

import pytest
import yaml

from provisioner.errors import InventoryRefused, RefusedForSafety
from provisioner.files import write_whole
from provisioner.operate import pki, secrets
from provisioner.operate.secrets import SECRET_NAMES, SecretStore
from tests.fakes.session import operator_key


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    """Return the public line of each operator's key; the private key is the file of that name."""
    return {name: operator_key(tmp_path / name) for name in ("alice", "bob", "mallory")}


@pytest.fixture
def store(tmp_path: Path, keys: dict[str, str]) -> SecretStore:
    made = opened(tmp_path, keys, "alice")
    made.create("lab")
    return made


def opened(tmp_path: Path, keys: dict[str, str], who: str) -> SecretStore:
    """Return the store of alice and bob as `who` opens it."""
    return SecretStore(tmp_path / "secrets", [keys["alice"], keys["bob"] + " bob@example"], [tmp_path / who])


def content(directory: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in directory.iterdir()}


def test_a_second_creation_changes_no_byte(store: SecretStore, tmp_path: Path) -> None:
    before = content(tmp_path / "secrets")
    store.create("lab")
    assert content(tmp_path / "secrets") == before


def test_a_creation_that_was_killed_before_the_index_starts_over(
        tmp_path: Path, keys: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    real = write_whole

    def killed(path: Path, data: bytes, mode: int = 0o600) -> None:
        if path.name == "index.json":
            raise KeyboardInterrupt
        real(path, data, mode)

    monkeypatch.setattr(secrets, "write_whole", killed)
    half = opened(tmp_path, keys, "alice")
    with pytest.raises(KeyboardInterrupt):
        half.create("lab")
    assert (half.exists, half.ca_certificates()) == (False, {})
    first = (tmp_path / "secrets" / "ca.crt").read_bytes()
    monkeypatch.undo()
    half.create("lab")
    assert half.exists
    assert (tmp_path / "secrets" / "ca.crt").read_bytes() != first
    assert b"PRIVATE KEY" in half.resolve("ca.key")


def test_everything_encrypted_is_0600_in_a_0700_directory_from_its_first_moment(
        tmp_path: Path, keys: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    opened_with: dict[str, int] = {}
    real = os.open

    def watched(path: Path, flags: int, mode: int = 0o777) -> int:
        descriptor = real(path, flags, mode)
        opened_with[Path(path).name] = stat.S_IMODE(os.fstat(descriptor).st_mode)
        return descriptor

    old = os.umask(0)       # a generous umask must not matter
    try:
        monkeypatch.setattr(os, "open", watched)
        opened(tmp_path, keys, "alice").create("lab")
    finally:
        os.umask(old)
    private = {n: mode for n, mode in opened_with.items() if ".age." in n}
    assert len(private) == len(SECRET_NAMES)
    assert set(private.values()) == {0o600}
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    for name in SECRET_NAMES:
        assert stat.S_IMODE((tmp_path / "secrets" / f"{name}.age").stat().st_mode) == 0o600


def test_no_secret_byte_rests_in_the_clear(store: SecretStore, tmp_path: Path) -> None:
    for name in SECRET_NAMES:
        value = store.resolve(name)
        middle = value.splitlines()[1]
        assert len(middle) > 8
        for file, data in content(tmp_path / "secrets").items():
            assert middle not in data, (name, file)
    assert b"PRIVATE" not in b"".join(content(tmp_path / "secrets").values())


def test_each_operator_opens_every_secret_and_gets_the_same_bytes(
        store: SecretStore, tmp_path: Path, keys: dict[str, str]) -> None:
    other = opened(tmp_path, keys, "bob")
    assert {n: other.resolve(n) for n in SECRET_NAMES} == {n: store.resolve(n) for n in SECRET_NAMES}


def test_someone_else_s_key_is_refused_with_what_to_do(
        store: SecretStore, tmp_path: Path, keys: dict[str, str]) -> None:
    with pytest.raises(InventoryRefused) as refused:
        opened(tmp_path, keys, "mallory").resolve("ca.key")
    assert (refused.value.code, refused.value.exit_code) == ("secret-not-yours", 10)
    assert refused.value.details == (f"{tmp_path / 'mallory'}: not the key of one of the `operators:`",)
    assert "operators" in refused.value.hint


def test_a_missing_or_broken_key_file_is_passed_over(store: SecretStore, tmp_path: Path, keys: dict[str, str]) -> None:
    (tmp_path / "junk").write_text("no key at all")
    files = [tmp_path / "not-there", tmp_path / "junk", tmp_path / "mallory", tmp_path / "alice"]
    assert SecretStore(tmp_path / "secrets", [], files).resolve("sa.key") == store.resolve("sa.key")


def test_a_secret_that_is_another_s_bytes_is_refused(store: SecretStore, tmp_path: Path, keys: dict[str, str]) -> None:
    directory = tmp_path / "secrets"
    (directory / "ca.key.age").write_bytes((directory / "etcd-ca.key.age").read_bytes())
    with pytest.raises(InventoryRefused) as refused:
        store.resolve("ca.key")
    assert refused.value.code == "secret-tampered"


def test_a_damaged_file_is_refused(store: SecretStore, tmp_path: Path) -> None:
    file = tmp_path / "secrets" / "ca.key.age"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(InventoryRefused):
        store.resolve("ca.key")


def test_a_lost_file_is_refused_for_safety_and_not_made_anew(store: SecretStore, tmp_path: Path) -> None:
    (tmp_path / "secrets" / "ca.key.age").unlink()
    with pytest.raises(RefusedForSafety) as refused:
        store.resolve("ca.key")
    assert (refused.value.code, refused.value.exit_code) == ("secret-missing", 15)
    store.create("lab")
    assert not (tmp_path / "secrets" / "ca.key.age").exists()


def test_a_reference_compares_without_decrypting(store: SecretStore, tmp_path: Path, keys: dict[str, str]) -> None:
    refs = opened(tmp_path, keys, "mallory").refs()
    assert set(refs) == set(SECRET_NAMES)
    for name, ref in refs.items():
        value = store.resolve(name)
        assert hmac.new(bytes.fromhex(ref.hmac_key), value, hashlib.sha256).hexdigest() == ref.digest
        stamp = hmac.new(bytes.fromhex(ref.hmac_key), hashlib.sha256(value).hexdigest().encode(), hashlib.sha256)
        assert stamp.hexdigest() == ref.stamp
        assert ref.digest != hashlib.sha256(value).hexdigest(), "a plain digest of a short secret can be guessed"


def test_before_there_is_a_store_references_match_nothing_and_public_texts_can_be_compiled(
        tmp_path: Path, keys: dict[str, str]) -> None:
    none = opened(tmp_path, keys, "alice")
    assert all(not ref.digest and not ref.hmac_key for ref in none.refs().values())
    assert all("BEGIN CERTIFICATE" in text for text in none.public().values())
    assert not (tmp_path / "secrets").exists()


def test_a_ca_comes_with_its_own_key_and_names_the_cluster(store: SecretStore) -> None:
    for name, pem in store.ca_certificates().items():
        pair = store.ca(name)
        assert pair.certificate.decode() == pem
        seen = pki.read(pem, {name: pem})
        assert seen and seen.common_name.endswith(" of lab") and seen.issued_by == name
        assert "PRIVATE" not in repr(pair)


def test_the_three_cas_are_three(store: SecretStore) -> None:
    assert len(set(store.ca_certificates().values())) == 3


def test_the_encryption_config_writes_with_secretbox_and_a_key_of_32_bytes(store: SecretStore) -> None:
    config = yaml.safe_load(store.resolve("encryption-config"))
    (rule,) = config["resources"]
    first, last = rule["providers"]
    assert rule["resources"] == ["secrets"]
    assert last == {"identity": {}}
    assert len(base64.b64decode(first["secretbox"]["keys"][0]["secret"])) == 32


def test_without_operators_no_secret_is_made(tmp_path: Path) -> None:
    with pytest.raises(InventoryRefused) as refused:
        SecretStore(tmp_path / "secrets", [], []).create("lab")
    assert refused.value.code == "no-operators"
    assert not (tmp_path / "secrets").exists()


def test_an_operator_s_line_that_is_no_key_is_named_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(InventoryRefused) as refused:
        SecretStore(tmp_path / "secrets", ["ssh-ed25519 nonsense"], []).create("lab")
    assert refused.value.code == "bad-operator"
    assert not (tmp_path / "secrets").exists()


def test_the_index_tells_names_and_keyed_digests_only(store: SecretStore, tmp_path: Path) -> None:
    index = json.loads((tmp_path / "secrets" / "index.json").read_text())
    assert {tuple(sorted(entry)) for entry in index["secrets"].values()} == {("digest", "hmac_key", "stamp")}


def test_what_no_key_of_ours_could_open_again_is_never_made(tmp_path: Path, keys: dict[str, str]) -> None:
    files = [tmp_path / name for name in ("mallory", "not-there", "locked", "alice.pub")]
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "a passphrase", "-f", files[2]], check=True, timeout=60)
    files[3].write_text(keys["alice"])
    store = SecretStore(tmp_path / "secrets", [keys["alice"], files[2].with_suffix(".pub").read_text()], files)
    for attempt in (store.prove, lambda: store.create("lab")):
        with pytest.raises(InventoryRefused) as refused:
            attempt()
        assert (refused.value.code, refused.value.exit_code) == ("secret-not-yours", 10)
        told = dict(line.split(": ", 1) for line in refused.value.details[:4])
        assert told[str(files[0])] == "not the key of one of the `operators:`"
        assert told[str(files[1])] == "no such file or directory"
        assert told[str(files[2])].startswith("has a passphrase, and nobody is asked for it; give a copy without one")
        assert f": cp {files[2]} {files[2]}.open && ssh-keygen -p -N '' -f {files[2]}.open" in told[str(files[2])]
        assert told[str(files[3])] == "cannot open secrets: invalid SSH identity"
        assert "--identity FILE" in refused.value.hint
    assert not (tmp_path / "secrets").exists()
    SecretStore(tmp_path / "secrets", [keys["alice"]], [*files, tmp_path / "alice"]).create("lab")
