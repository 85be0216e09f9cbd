"""The inventory's secrets at rest: age-encrypted to the operators' SSH keys, with an index that needs no decryption.

`<name>.age` holds the bytes; `index.json` a random key and keyed digests of each, so that a plan compares without
decrypting; `<ca>.crt` and `sa.pub` lie beside them in the clear. age: docs of pyrage 1.4, format age-encryption.org/v1.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets as random
import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from provisioner.errors import InventoryRefused, RefusedForSafety
from provisioner.files import write_whole
from provisioner.model.operators import user_names
from provisioner.model.secret import INDEX, SecretRef
from provisioner.operate import pki, registry_logins
from provisioner.operate.registry_logins import RegistryLogins

# name of a CA -> the common name of its certificate, which people see in browsers and openssl
CAS = {"cluster": "kubernetes-ca", "etcd": "etcd-ca", "front-proxy": "front-proxy-ca"}
# the names under which compile asks for public texts and secret files
PUBLIC_FILES = {"ca.crt": "cluster", "etcd-ca.crt": "etcd", "front-proxy-ca.crt": "front-proxy"}
SECRET_NAMES = ("ca.key", "etcd-ca.key", "front-proxy-ca.key", "sa.key", "encryption-config")
_KEY_OF_CA = {"cluster": "ca.key", "etcd": "etcd-ca.key", "front-proxy": "front-proxy-ca.key"}
# What a plan shows before there is a CA: shaped like one, since compile reads fingerprints of it.
_NOT_YET = "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n".format(
    base64.b64encode(b"(made by the first `kubewright up`)").decode())

_LOCKED = ("has a passphrase, and nobody is asked for it; give a copy without one: "
           "cp {key} {copy} && ssh-keygen -p -N '' -f {copy}, then --identity {copy}")
_HOW = "give the private key of one of the `operators:`: --identity FILE, or ssh.key in cluster.yaml"


class SecretStore:
    """The secrets of one inventory; bytes are decrypted when asked for and never kept in a repr."""

    def __init__(self, directory: Path, operators: Sequence[str], identity_files: Sequence[Path]) -> None:
        self._directory = directory
        self._operators = tuple(operators)
        self._identity_files = tuple(identity_files)
        self._opened: dict[str, bytes] = {}
        self._logins = RegistryLogins(directory)

    @property
    def exists(self) -> bool:
        """Say whether this inventory has its CAs: the index is written last."""
        return (self._directory / INDEX).is_file()

    def create(self, cluster: str) -> None:
        """Make every CA and secret once; a second call changes nothing.

        A kill in between leaves no index, and the next call starts over: nothing was handed out yet.
        """
        if self.exists:
            return
        self.prove()
        recipients = self._recipients()
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        cas = {name: pki.new_ca(f"{common_name} of {cluster}") for name, common_name in CAS.items()}
        signing = pki.new_signing_key()
        values = {_KEY_OF_CA[name]: pair.key for name, pair in cas.items()}
        values |= {"sa.key": signing.key, "encryption-config": _encryption_config()}
        for file, ca in PUBLIC_FILES.items():
            write_whole(self._directory / file, cas[ca].certificate, 0o644)
        write_whole(self._directory / "sa.pub", signing.certificate, 0o644)
        index = {}
        for name, value in values.items():
            write_whole(self._directory / f"{name}.age", _encrypt(value, recipients))
            index[name] = _index_entry(value)
        known = json.dumps({"version": 1, "secrets": index}, indent=1)
        write_whole(self._directory / INDEX, known, 0o644)

    def prove(self) -> None:
        """See that a key of ours opens what will be encrypted to the operators; writes nothing.

        InventoryRefused where none does: the cluster's CA would be lost with the process that made it.
        """
        probe = random.token_bytes(16)
        if self._opened_with(_encrypt(probe, self._recipients())) != probe:
            raise InventoryRefused(
                "operators: none of your keys opens what would be encrypted to them", code="secret-not-yours",
                details=[*self._tried(), "nothing was changed"], hint=_HOW)

    def refs(self) -> dict[str, SecretRef]:
        """Return a reference per secret; without a store the references match nothing on any host."""
        logins = {ref.name: ref for ref in self._logins.refs()}
        if not self.exists:
            return {name: SecretRef(name) for name in SECRET_NAMES} | logins
        index = json.loads((self._directory / INDEX).read_text())["secrets"]
        return logins | {name: SecretRef(name, entry["hmac_key"], entry["digest"], entry.get("stamp", ""))
                         for name, entry in index.items()}

    def public(self) -> dict[str, str]:
        """Return the public texts by name: CA certificates and the service account key."""
        names = (*PUBLIC_FILES, "sa.pub")
        if not self.exists:
            return dict.fromkeys(names, _NOT_YET)
        return {name: (self._directory / name).read_text() for name in names}

    def ca_certificates(self) -> dict[str, str]:
        """Return the PEM of each CA by the CA's name; empty without a store."""
        if not self.exists:
            return {}
        return {ca: (self._directory / file).read_text() for file, ca in PUBLIC_FILES.items()}

    def resolve(self, name: str) -> bytes:
        """Return the bytes of a secret; InventoryRefused where no key of ours opens it or it was tampered with."""
        if name not in self._opened:
            value = self._decrypt(name)
            ref = self.refs()[name]
            if not hmac.compare_digest(_keyed(bytes.fromhex(ref.hmac_key), value), ref.digest):
                raise InventoryRefused(f"secret {name}: its bytes are not those of index.json",
                                       hint=f"git log -- {self._directory}", code="secret-tampered")
            self._opened[name] = value
        return self._opened[name]

    def ca(self, name: str) -> pki.KeyPair:
        """Return a CA with its key."""
        file = next(file for file, ca in PUBLIC_FILES.items() if ca == name)
        return pki.KeyPair((self._directory / file).read_bytes(), self.resolve(_KEY_OF_CA[name]))

    def keep_login(self, registry: str, user: str, password: str) -> None:
        """Keep the login of a registry in the place of an earlier one; what is kept could be opened again."""
        self.prove()
        value = registry_logins.answer(registry, user, password)
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._logins.keep(registry, _index_entry(value), _encrypt(value, self._recipients()))

    def operator(self) -> str:
        """Return the user name of the operator whose private key is at hand (operators.py), nothing without one."""
        names = user_names(self._operators)
        held = (_public_key(file) for file in self._identity_files if file.is_file())
        return next((names[key] for key in held if key in names), "")

    def seal(self, plain: BinaryIO, sealed: BinaryIO) -> None:
        """Encrypt a stream to the operators, piece by piece."""
        import pyrage

        pyrage.encrypt_io(plain, sealed, self._recipients())

    def unseal(self, sealed: Path, plain: BinaryIO) -> None:
        """Decrypt a file that was encrypted to the operators, piece by piece.

        InventoryRefused where no key of ours opens it, RefusedForSafety where it is damaged.
        """
        import pyrage

        for file in self._identity_files:
            try:
                identity = pyrage.ssh.Identity.from_buffer(file.read_bytes())
            except (OSError, pyrage.IdentityError):
                continue        # told by `_tried` where no other opens it
            plain.seek(0)
            plain.truncate()
            try:
                with sealed.open("rb") as stream:
                    pyrage.decrypt_io(stream, plain, [identity])
                return
            except pyrage.DecryptError as fault:
                if "matching" in str(fault):
                    continue
                raise _damaged(sealed) from None
            except OSError as fault:
                if fault.errno is None:         # age's own word for bytes that are not those it wrote
                    raise _damaged(sealed) from None
                raise
        raise InventoryRefused(f"{sealed}: none of your keys opens it", details=self._tried(), hint=_HOW,
                               code="secret-not-yours")

    def _recipients(self) -> list[object]:
        from pyrage import RecipientError, ssh

        if not self._operators:
            raise InventoryRefused("operators: no SSH public key may read the secrets that are about to be made",
                                   hint="add a line of ~/.ssh/id_ed25519.pub to `operators:`", code="no-operators")
        recipients: list[object] = []
        for line in self._operators:
            try:
                recipients.append(ssh.Recipient.from_str(line.strip()))
            except RecipientError as error:
                raise InventoryRefused(f"operators: {line[:40]}...: {error}", code="bad-operator") from error
        return recipients

    def _decrypt(self, name: str) -> bytes:
        path = self._directory / f"{name}.age"
        sealed = self._logins.sealed(name) or (path.read_bytes() if path.is_file() else None)
        if sealed is None:
            raise RefusedForSafety(f"secret {path.name}: not in {self._directory}", code="secret-missing",
                                   hint="restore the directory from your repository; it holds the cluster's CAs")
        opened = self._opened_with(sealed)
        if opened is None:
            raise InventoryRefused(f"secret {path.name}: none of your keys opens it", details=self._tried(), hint=_HOW,
                                   code="secret-not-yours")
        return opened

    def _opened_with(self, data: bytes) -> bytes | None:
        import pyrage

        for file in self._identity_files:
            with suppress(OSError, pyrage.DecryptError, pyrage.IdentityError):
                return bytes(pyrage.decrypt(data, [pyrage.ssh.Identity.from_buffer(file.read_bytes())]))
        return None

    def _tried(self) -> list[str]:
        """Say of each key file why it opens nothing."""
        import pyrage

        told = []
        for file in self._identity_files:
            try:
                pyrage.ssh.Identity.from_buffer(file.read_bytes())
                why = "not the key of one of the `operators:`"
            except OSError as fault:
                why = str(fault.strerror).lower()
            except pyrage.IdentityError as fault:
                locked = _LOCKED.format(key=shlex.quote(str(file)), copy=shlex.quote(f"{file}.open"))
                why = locked if "decrypted first" in str(fault) else f"cannot open secrets: {fault}"
            told.append(f"{file}: {why}")
        return told


def _damaged(sealed: Path) -> RefusedForSafety:
    return RefusedForSafety(f"{sealed}: decrypting it: it is damaged or not whole", code="snapshot-damaged",
                            details=["nothing was changed"], hint="use another copy of it")


def _public_key(identity: Path) -> str:
    """Return the public half of a private key without a passphrase, nothing where the file is none."""
    for load in (serialization.load_ssh_private_key, serialization.load_pem_private_key):
        try:
            public = load(identity.read_bytes(), password=None).public_key()
            return public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm):
            continue
    return ""


def _encrypt(value: bytes, recipients: Sequence[object]) -> bytes:
    import pyrage

    encrypt: Callable[[bytes, Sequence[object]], bytes] = pyrage.encrypt
    return bytes(encrypt(value, recipients))


def _index_entry(value: bytes) -> dict[str, str]:
    """Return what a SecretRef needs to know of a secret."""
    key = random.token_bytes(32)
    return {"hmac_key": key.hex(), "digest": _keyed(key, value),
            "stamp": _keyed(key, hashlib.sha256(value).hexdigest().encode())}


def _keyed(key: bytes, value: bytes) -> str:
    return hmac.new(key, value, hashlib.sha256).hexdigest()


def _encryption_config() -> bytes:
    """Return an EncryptionConfiguration: secretbox first (no rotation limit), identity only to read old data."""
    key = base64.b64encode(random.token_bytes(32)).decode()
    return json.dumps({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration",
        "resources": [{"resources": ["secrets"], "providers": [
            {"secretbox": {"keys": [{"name": "key1", "secret": key}]}}, {"identity": {}}]}],
    }, indent=1).encode() + b"\n"
