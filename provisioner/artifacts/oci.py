"""Pack an OCI image from static binaries, without a container engine; the same input gives the same bytes.

Layout after the OCI image specification 1.1; the archive is what `ctr -n k8s.io images import` takes. The layer is
packed by the one version of zstd that pyproject.toml pins: by another one two operators' digests would differ.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import zstandard

from provisioner.artifacts.cache import sha256_of
from provisioner.artifacts.catalogue import Image
from provisioner.artifacts.registry import Pulled
from provisioner.artifacts.tarball import add, member

PACKER = 2                        # part of the build key: raise it when the packed bytes change
ZSTD = [zstandard.__version__, *zstandard.ZSTD_VERSION]     # of the package and its zstd: they decide the packed bytes
LEVEL = 12                        # a quarter of the bytes in 2 s for 55 MB; 19 takes 25 s for a tenth less
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LAYER = "application/vnd.oci.image.layer.v1.tar+zstd"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"


@dataclass(frozen=True)
class _Blob:
    digest: str
    size: int
    media_type: str

    @property
    def member(self) -> str:
        return f"blobs/sha256/{self.digest}"

    def descriptor(self, **more: Any) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": f"sha256:{self.digest}", "size": self.size, **more}


def pack(image: Image, reference: str, arch: str, binaries: Mapping[str, Path], target: Path) -> None:
    """Write the image's archive to `target`; `binaries` maps the names that the image takes to files."""
    layer_path = target.with_name(target.name + ".layer")
    content = _write_layer(image, binaries, layer_path)
    layer = _blob_of(layer_path)
    config_bytes = _json(_config(image, arch, content))
    config = _Blob(hashlib.sha256(config_bytes).hexdigest(), len(config_bytes), _CONFIG)
    manifest_bytes = _json({"schemaVersion": 2, "mediaType": _MANIFEST, "config": config.descriptor(),
                            "layers": [layer.descriptor()]})
    manifest = _Blob(hashlib.sha256(manifest_bytes).hexdigest(), len(manifest_bytes), _MANIFEST)
    index = _json({"schemaVersion": 2, "mediaType": _INDEX, "manifests": [_entry(manifest, reference, arch)]})
    _write_archive(target, index, {config.member: config_bytes, manifest.member: manifest_bytes,
                                   layer.member: layer_path})
    layer_path.unlink()


def archive(pulled: Pulled, reference: str, arch: str, target: Path) -> None:
    """Write an image of a registry as the same kind of archive, under its name; its blobs stay as they are."""
    entry = {**pulled.manifest.descriptor, "platform": {"architecture": arch, "os": "linux"},
             "annotations": _names(reference)}
    index = _json({"schemaVersion": 2, "mediaType": _INDEX, "manifests": [entry]})
    _write_archive(target, index, {f"blobs/sha256/{blob.sha256}": blob.path
                                   for blob in (pulled.manifest, pulled.config, *pulled.layers)})


def _write_archive(target: Path, index: bytes, blobs: Mapping[str, bytes | Path]) -> None:
    members: dict[str, bytes | Path] = {"oci-layout": _json({"imageLayoutVersion": "1.0.0"}), "index.json": index,
                                        **blobs}
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as packed:
        for directory in ("blobs", "blobs/sha256"):
            packed.addfile(member(directory, tarfile.DIRTYPE, mode=0o755))
        for name in sorted(members):
            add(packed, name, members[name], 0o644)


def _entry(manifest: _Blob, reference: str, arch: str) -> dict[str, Any]:
    return manifest.descriptor(platform={"architecture": arch, "os": "linux"}, annotations=_names(reference))


def _names(reference: str) -> dict[str, str]:
    return {"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": reference}


def _config(image: Image, arch: str, content: str) -> dict[str, Any]:
    """Return the image's configuration; `content` is the digest of its layer before that was packed."""
    run: dict[str, Any] = {"Env": [_PATH], "WorkingDir": "/"}
    if image.entrypoint:
        run["Entrypoint"] = list(image.entrypoint)
    if image.command:
        run["Cmd"] = list(image.command)
    return {"created": "1970-01-01T00:00:00Z", "architecture": arch, "os": "linux", "config": run,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{content}"]},
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "kubewright"}]}


def _write_layer(image: Image, binaries: Mapping[str, Path], target: Path) -> str:
    """Write the packed layer to `target`, and return the digest of what is in it."""
    plain = target.with_name(target.name + ".tar")
    _write_tar(image, binaries, plain)
    with plain.open("rb") as content, target.open("wb") as packed:
        zstandard.ZstdCompressor(level=LEVEL).copy_stream(content, packed, size=plain.stat().st_size)
    digest = sha256_of(plain)
    plain.unlink()
    return digest


def _write_tar(image: Image, binaries: Mapping[str, Path], target: Path) -> None:
    contents: dict[str, bytes | Path] = {path: binaries[name] for path, name in image.files.items()}
    contents |= {path: text.encode() for path, text in image.texts.items()}
    links = {str(PurePosixPath(to).parent / name): to for to, names in image.links.items() for name in names}
    directories = set(image.directories)
    for path in (*contents, *links, *image.directories):
        directories |= {str(parent) for parent in PurePosixPath(path).parents if str(parent) != "/"}
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(directories | set(contents) | set(links)):
            name = path.lstrip("/")
            if path in directories:
                archive.addfile(member(name, tarfile.DIRTYPE, mode=0o1777 if path == "/tmp" else 0o755))  # noqa: S108
            elif path in links:
                archive.addfile(member(name, tarfile.SYMTYPE, link=os.path.relpath(links[path], Path(path).parent)))
            else:
                add(archive, name, contents[path], 0o755 if path in image.files else 0o644)


def _blob_of(path: Path) -> _Blob:
    return _Blob(sha256_of(path), path.stat().st_size, _LAYER)


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
