"""An image of a registry, by the digest of its manifest or of the index over its architectures: nothing is by name.

The distribution protocol as far as it is needed: manifests and blobs by digest, each checked against the digest that
names it, with the token that a registry gives to everybody. No container engine and no skopeo.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provisioner.artifacts.download import Published
from provisioner.errors import KubewrightError, PreflightRefused

_INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
_MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
_ACCEPT = {"Accept": ", ".join((*_INDEXES, *_MANIFESTS))}

Get = Callable[[Published], Path]
"""Brings a published file and returns where it is."""


@dataclass(frozen=True)
class Blob:
    """A part of an image: where its bytes are, and what a descriptor says of them."""

    path: Path
    sha256: str
    media_type: str

    @property
    def descriptor(self) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": f"sha256:{self.sha256}", "size": self.path.stat().st_size}


@dataclass(frozen=True)
class Pulled:
    """One architecture's image: its manifest, its configuration and its layers, the lowest first."""

    manifest: Blob
    config: Blob
    layers: tuple[Blob, ...]


def base_of(reference: str) -> str:
    """Return the address below which a registry has what is called so: `registry.k8s.io/pause:3` -> .../v2/pause."""
    host, _, rest = reference.partition("/")
    return f"https://{host}/v2/{rest.partition(':')[0]}"


def pull(reference: str, sha256: str, arch: str, get: Get) -> Pulled:
    """Bring the image that has this digest for `arch`; PreflightRefused where it has none for it."""
    base = base_of(reference)
    path, document = _document(base, reference, sha256, get)
    if document.get("mediaType") in _INDEXES or "manifests" in document:
        sha256 = _of_arch(document, reference, arch)
        path, document = _document(base, reference, sha256, get)
    media_type = document.get("mediaType", _MANIFESTS[0])
    try:
        config, *layers = [(_digest(part), str(part["mediaType"])) for part in (document["config"],
                                                                                *document["layers"])]
    except (KeyError, TypeError) as fault:
        raise _strange(reference, f"its manifest has no {fault}") from None

    def blob(digest: str, kind: str) -> Blob:
        return Blob(get(Published(f"{base}/blobs/sha256:{digest}", digest)), digest, kind)

    return Pulled(Blob(path, sha256, media_type), blob(*config), tuple(blob(*layer) for layer in layers))


def _document(base: str, reference: str, sha256: str, get: Get) -> tuple[Path, dict[str, Any]]:
    path = get(Published(f"{base}/manifests/sha256:{sha256}", sha256, _ACCEPT))
    try:
        found = json.loads(path.read_bytes())
    except ValueError:
        raise _strange(reference, "its manifest is no JSON") from None
    if not isinstance(found, dict):
        raise _strange(reference, "its manifest is no mapping")
    return path, found


def _of_arch(index: dict[str, Any], reference: str, arch: str) -> str:
    entries = [(entry, entry.get("platform", {})) for entry in index["manifests"]]
    found = [entry for entry, p in entries if (p.get("os"), p.get("architecture")) == ("linux", arch)]
    if not found:
        there = sorted({f"{p.get('os')}/{p.get('architecture')}" for _, p in entries})
        raise PreflightRefused(f"this machine: download {reference}: it is not for linux/{arch}", code="download",
                               details=[f"it is for {', '.join(there)}"])
    return _digest(found[0])


def _digest(descriptor: dict[str, Any]) -> str:
    kind, _, value = str(descriptor["digest"]).partition(":")
    if kind != "sha256" or len(value) != 64 or set(value) - set("0123456789abcdef"):
        raise KeyError("sha256 digest")
    return value


def _strange(reference: str, saw: str) -> KubewrightError:
    return PreflightRefused(f"this machine: download {reference}: {saw}", code="download")
