"""SSH keys of the lab: one operator key per inventory, one host key per node, pinned from the moment it exists."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from provisioner.lab.instance import write_file
from provisioner.lab.processes import run
from provisioner.model.endpoint import known_hosts_name


def generate(path: Path, comment: str) -> str:
    """Make an ed25519 key at `path` (0600 from its first byte) and return its public half; an existing one is kept."""
    public = path.with_name(path.name + ".pub")
    if not path.exists():
        public.unlink(missing_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        for leftover in (temporary, temporary.with_name(temporary.name + ".pub")):
            leftover.unlink(missing_ok=True)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(temporary)],
            doing=f"making the key {path}")
        temporary.with_name(temporary.name + ".pub").replace(public)
        temporary.replace(path)
    elif not public.exists():
        write_file(public, run(["ssh-keygen", "-y", "-f", str(path)], doing=f"reading the key {path}"))
    return public.read_text().strip()


def operator_key(path: Path) -> str:
    """Return the public half of the inventory's lab key, made on first use in a directory that is only ours."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    return generate(path, "kubewright-lab")


def known_hosts_line(address: str, port: int, public_key: str) -> str:
    """Return the line that pins `public_key` to an address; a port other than 22 is part of the name."""
    kind, value = public_key.split()[:2]
    return f"{known_hosts_name(address, port)} {kind} {value}"


def merge_known_hosts(text: str, pins: Mapping[str, str]) -> str:
    """Return the file with one line for each pinned name (`pins`: name -> line), all other lines as they were."""
    kept = [line for line in text.splitlines() if line.split(" ")[0] not in pins]
    return "".join(f"{line}\n" for line in (*kept, *pins.values()))


def pin(path: Path, lines: list[str]) -> None:
    """Pin host keys in the file that every connection checks against; the file is replaced as a whole."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    before = path.read_text() if path.exists() else ""
    after = merge_known_hosts(before, {line.split(" ")[0]: line for line in lines})
    if after != before:
        write_file(path, after, 0o600)


def unpin(path: Path, names: list[str]) -> None:
    """Remove the pins of nodes that are no more."""
    if path.exists():
        text = path.read_text()
        kept = "".join(f"{line}\n" for line in text.splitlines() if line.split(" ")[0] not in names)
        if kept != text:
            write_file(path, kept, 0o600)
