"""An image archive is an OCI layout that a container engine takes, and the same input gives the same bytes."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
import zstandard

from provisioner.artifacts.catalogue import Image
from provisioner.artifacts.oci import pack

IMAGE = Image(archive="tool.tar", reference="kubewright.local/tool:1", files={"/bin/tool": "tool"},
              links={"/bin/tool": ("sh", "cat")}, texts={"/etc/group": "root:x:0:\n"}, directories=("/tmp",),
              entrypoint=("/bin/tool",), command=("serve",))


def packed(directory: Path, *, mtime: float = 1.0, mode: int = 0o600) -> Path:
    directory.mkdir()
    binary = directory / "tool"
    binary.write_bytes(b"the program")
    binary.chmod(mode)
    os.utime(binary, (mtime, mtime))
    pack(IMAGE, "kubewright.local/tool:1", "amd64", {"tool": binary}, directory / "tool.tar")
    return directory / "tool.tar"


@pytest.fixture
def archive(tmp_path: Path) -> dict[str, bytes]:
    with tarfile.open(packed(tmp_path / "a")) as tar:
        return {m.name: file.read() for m in tar if (file := tar.extractfile(m)) is not None}


def blob(archive: dict[str, bytes], descriptor: dict[str, Any]) -> bytes:
    content = archive["blobs/sha256/" + descriptor["digest"].removeprefix("sha256:")]
    assert "sha256:" + hashlib.sha256(content).hexdigest() == descriptor["digest"]
    assert len(content) == descriptor["size"]
    return content


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    one = packed(tmp_path / "a", mtime=1.0, mode=0o600)
    two = packed(tmp_path / "b", mtime=99999.0, mode=0o755)
    assert one.read_bytes() == two.read_bytes()


def test_the_packed_bytes_are_those_of_the_version_that_is_pinned(tmp_path: Path) -> None:
    """What another zstd makes of it would be another image: then raise PACKER, and write the known digests anew."""
    assert hashlib.sha256(packed(tmp_path / "a").read_bytes()).hexdigest() == \
        "216599b7c8787a1be5244593fda69ccd8d0cecebcd05d82812ed0fd811cf1e6f"


def test_packing_leaves_only_the_archive(tmp_path: Path) -> None:
    packed(tmp_path / "a")
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["tool", "tool.tar"]


def test_every_descriptor_points_at_a_blob_of_its_digest_and_size(archive: dict[str, bytes]) -> None:
    assert json.loads(archive["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    [entry] = json.loads(archive["index.json"])["manifests"]
    assert entry["annotations"] == {"io.containerd.image.name": "kubewright.local/tool:1",
                                    "org.opencontainers.image.ref.name": "kubewright.local/tool:1"}
    manifest = json.loads(blob(archive, entry))
    config = json.loads(blob(archive, manifest["config"]))
    [layer] = manifest["layers"]
    content = zstandard.decompress(blob(archive, layer))
    assert layer["mediaType"].endswith(".tar+zstd")
    assert config["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(content).hexdigest()]
    assert (config["os"], config["architecture"]) == ("linux", "amd64")
    assert len(archive) == 5


def test_a_shell_in_the_image_finds_its_programs(archive: dict[str, bytes]) -> None:
    [entry] = json.loads(archive["index.json"])["manifests"]
    config = json.loads(blob(archive, json.loads(blob(archive, entry))["config"]))["config"]
    [path] = [value.removeprefix("PATH=") for value in config["Env"]]
    assert {"/usr/local/bin", "/bin"} <= set(path.split(":"))
    assert config["Entrypoint"] == ["/bin/tool"] and config["Cmd"] == ["serve"]


def test_the_layer_holds_the_files_owned_by_root_with_their_parents_first(archive: dict[str, bytes],
                                                                          tmp_path: Path) -> None:
    [entry] = json.loads(archive["index.json"])["manifests"]
    layer = tmp_path / "layer.tar"
    layer.write_bytes(zstandard.decompress(blob(archive, json.loads(blob(archive, entry))["layers"][0])))
    with tarfile.open(layer) as tar:
        members = tar.getmembers()
    assert [m.name for m in members] == ["bin", "bin/cat", "bin/sh", "bin/tool", "etc", "etc/group", "tmp"]
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0, 0, "", "", 0)}
    by_name = {m.name: m for m in members}
    assert by_name["bin/sh"].linkname == "tool"
    assert by_name["bin/tool"].mode == 0o755 and by_name["etc/group"].mode == 0o644
    assert by_name["tmp"].mode == 0o1777
