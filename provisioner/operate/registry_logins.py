"""Logins of registries among an inventory's secrets: one file each, which is replaced whole."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

from provisioner.files import write_whole
from provisioner.model.outside import LOGINS, login_name
from provisioner.model.secret import SecretRef

SALT = 256


class RegistryLogins:
    """What `<secrets>/registries` holds: of each login the encrypted bytes, and what a plan compares without them."""

    def __init__(self, directory: Path) -> None:
        self._secrets = directory

    def refs(self) -> Iterator[SecretRef]:
        """Yield a reference to each login that is kept."""
        for file in sorted((self._secrets / LOGINS).glob("*.json")):
            kept = json.loads(file.read_text())
            registry = file.name.removesuffix(".json")
            yield SecretRef(login_name(registry), kept["hmac_key"], kept["digest"], kept["stamp"])

    def sealed(self, name: str) -> bytes | None:
        """Return the encrypted bytes of a secret, None where it is no login, or none that is kept."""
        file = self._secrets / f"{name}.json"
        if not name.startswith(f"{LOGINS}/") or not file.is_file():
            return None
        return base64.b64decode(json.loads(file.read_text())["sealed"])

    def keep(self, registry: str, entry: Mapping[str, str], sealed: bytes) -> None:
        """Write a login: what a plan compares, and the encrypted bytes."""
        (self._secrets / LOGINS).mkdir(exist_ok=True, mode=0o700)
        text = json.dumps({**entry, "sealed": base64.b64encode(sealed).decode()}, indent=1) + "\n"
        write_whole(self._secrets / f"{login_name(registry)}.json", text)


def answer(registry: str, user: str, password: str) -> bytes:
    """Return what a kubelet is told when it asks how to log in to a registry (credentialprovider.kubelet.k8s.io/v1).

    It ends in 256 blanks of two kinds, by chance: its digest is for anybody to compare, and a password that a person
    has chosen could be guessed by it.
    """
    salt = "".join(secrets.choice(" \t") for _ in range(SALT))
    return json.dumps({
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "CredentialProviderResponse",
        "cacheKeyType": "Registry", "cacheDuration": "0s",
        "auth": {registry: {"username": user, "password": password}},
    }, indent=1).encode() + f"{salt}\n".encode()
