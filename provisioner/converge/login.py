"""Does Ansible get in as well? It logs in with OpenSSH, which refuses what `transport`'s own SSH takes.

The login that proves it stays open for Ansible where a run may follow: a host is not logged into once more for that.
"""

from __future__ import annotations

import configparser
import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from provisioner.converge.hosts import ansible_vars, socket_name
from provisioner.converge.runner import ENVIRONMENT, LOCALE
from provisioner.model.paths import data_dir
from provisioner.model.words import table as words
from provisioner.transport import elevation
from provisioner.transport.faults import HostFault, sudo_fault
from provisioner.transport.refusals import readable
from provisioner.transport.target import Target

CODE = "ansible-login"
DOING = "logging in with Ansible's ssh"
WAIT = 70.0             # seconds: a little more than playbooks/ansible.cfg has Ansible wait
# What stands before ansible.cfg's options wins: this login asks nobody, and is for itself where it is not kept.
QUIET = ("-o", "BatchMode=yes")
ALONE = (*QUIET, "-o", "ControlMaster=no", "-o", "ControlPath=none")


def prove(target: Target, *, kept: Path | None = None) -> float:
    """Log in once as Ansible would, become root, start its Python, which does nothing, and return the seconds it took.

    In the directory `kept` (`runner.control_dir`) the connection stays for Ansible, as long as ansible.cfg says.
    Raises HostFault with what was said where that fails.
    """
    # What is said goes to a file: a pipe would be held open by the login that stays, before OpenSSH 8.5.
    with tempfile.TemporaryFile() as said:
        began = time.monotonic()
        failed = _login(target, kept, said).returncode
        took = time.monotonic() - began
        said.seek(0)
        text = said.read()
    if failed and kept is not None and target.jump is not None:
        # For a login that stays open OpenSSH does not tell what the way through the jump host says.
        return prove(target)
    if failed:
        raise _fault(target, text)
    return took


def _login(target: Target, kept: Path | None, said: IO[bytes]) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(command(target, kept=kept), input=_password(target), stdout=said, stderr=said,
                              timeout=WAIT, check=False, env=_environment())
    except FileNotFoundError:
        raise HostFault(target.name, DOING, "there is no ssh on this machine", code=CODE,
                        hint="on this machine: apt-get install -y openssh-client") from None
    except subprocess.TimeoutExpired:
        raise HostFault(target.name, DOING, f"no answer within {WAIT:.0f} s", code=CODE,
                        hint=shlex.join(command(target))) from None


def command(target: Target, *, kept: Path | None = None) -> list[str]:
    """Return the call of ssh: the options that Ansible gives it, for this host."""
    values = ansible_vars(target)
    key = [] if target.key_file is None else ["-o", f'IdentityFile="{values["ansible_ssh_private_key_file"]}"']
    remote = ["/bin/sh", "-c", "exec /usr/bin/python3 -I -S -c 0"]
    if target.elevates:
        quiet = ["-p", ""] if _password(target) else ["-n"]
        remote = ["env", "LC_ALL=C", "sudo", "-H", "-S", *quiet, "-u", "root", *remote]     # Ansible's become_flags
    return ["ssh", *(ALONE if kept is None else _kept(target, kept)), *_configured(),
            *shlex.split(values["ansible_ssh_common_args"]), *key,
            "-o", "KbdInteractiveAuthentication=no", "-o", "PasswordAuthentication=no",
            "-p", str(target.port), "-l", target.user, "--", target.address, shlex.join(remote)]


def _kept(target: Target, directory: Path) -> list[str]:
    """Return the options of a login that Ansible finds later; it is one of its own even where there is one already."""
    return [*QUIET, "-o", "ControlMaster=yes", "-o", f'ControlPath="{directory}/{socket_name(target)}"']


def _password(target: Target) -> bytes:
    """Return what sudo reads there if it asks, nothing where nobody has said it."""
    return b"" if target.password is None else elevation.told(target.password)


def _configured() -> list[str]:
    config = configparser.ConfigParser(interpolation=None)
    config.read(data_dir("playbooks") / "ansible.cfg", encoding="utf-8")
    return shlex.split(config["ssh_connection"]["ssh_args"])


def _environment() -> dict[str, str]:
    return {k: os.environ[k] for k in ENVIRONMENT if k in os.environ} | {"LC_ALL": LOCALE}


def _fault(target: Target, said: bytes) -> HostFault:
    refused = sudo_fault(target.name, target.user, said) if target.elevates else None
    if refused is not None:
        return refused
    text = said.decode(errors="replace")
    means = words.meaning(text, "ssh", "python", host=target.name, user=target.user, login=target.hop.login,
                          key=target.key_file or "that the agent or ~/.ssh has")
    if means is not None:
        below = [means.likely, *_plain(text)]
        return HostFault(target.name, DOING, means.says, code=CODE, hint=means.cure, details=[b for b in below if b])
    told = readable("\n".join(_plain(text))) or "it fails without a word"
    return HostFault(target.name, DOING, told, code=CODE, hint=shlex.join(command(target)))


def _plain(text: str) -> Iterator[str]:
    """Leave out the lines of `@` that OpenSSH frames its warnings with, and that a login is one of its own."""
    for line in text.splitlines():
        if not line.startswith(("@", "ControlSocket ")):
            yield line
