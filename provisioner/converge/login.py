"""Does Ansible get in as well? It logs in with OpenSSH, which refuses what `transport`'s own SSH takes."""

from __future__ import annotations

import configparser
import os
import shlex
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

from provisioner.converge.hosts import ansible_vars
from provisioner.converge.runner import ENVIRONMENT, LOCALE
from provisioner.model.paths import data_dir
from provisioner.transport.faults import HostFault, sudo_fault
from provisioner.transport.refusals import readable
from provisioner.transport.target import Target

CODE = "ansible-login"
DOING = "logging in with Ansible's ssh"
WAIT = 70.0             # seconds: a little more than playbooks/ansible.cfg has Ansible wait
# What stands before ansible.cfg's options wins: this login is for itself, and asks nobody.
ALONE = ("-o", "ControlMaster=no", "-o", "ControlPath=none", "-o", "BatchMode=yes")


@dataclass(frozen=True)
class Row:
    """What OpenSSH or the host says, and what to do about it."""

    words: str
    saw: str
    hint: str


ROWS = (
    Row("too open", "ssh does not use the key {key}: others may read it", "chmod 600 {key}"),
    Row("bad permissions", "ssh does not use the key {key}: others may read it", "chmod 600 {key}"),
    Row("error in libcrypto", "ssh cannot read the key {key}", "ssh-keygen -p -f {key}"),
    Row("invalid format", "ssh cannot read the key {key}", "ssh-keygen -p -f {key}"),
    Row("Too many authentication failures", "the agent offers too many keys", "set `ssh.key` in cluster.yaml"),
    Row("/usr/bin/python3: not found", "there is no /usr/bin/python3, which Ansible runs",
        "on {host}: apt-get install -y python3"),
)


def prove(target: Target) -> float:
    """Log in once as Ansible would, become root, start its Python, which does nothing, and return the seconds it took.

    Raises HostFault with what was said where that fails.
    """
    began = time.monotonic()
    try:
        done = subprocess.run(command(target), stdin=subprocess.DEVNULL, capture_output=True, timeout=WAIT, check=False,
                              env=_environment())
    except FileNotFoundError:
        raise HostFault(target.name, DOING, "there is no ssh on this machine", code=CODE,
                        hint="on this machine: apt-get install -y openssh-client") from None
    except subprocess.TimeoutExpired:
        raise HostFault(target.name, DOING, f"no answer within {WAIT:.0f} s", code=CODE,
                        hint=shlex.join(command(target))) from None
    if done.returncode:
        raise _fault(target, done.stdout + done.stderr)
    return time.monotonic() - began


def command(target: Target) -> list[str]:
    """Return the call of ssh: the options that Ansible gives it, for this host."""
    values = ansible_vars(target)
    key = [] if target.key_file is None else ["-o", f'IdentityFile="{values["ansible_ssh_private_key_file"]}"']
    remote = ["/bin/sh", "-c", "exec /usr/bin/python3 -I -S -c 0"]
    if target.elevates:
        remote = ["env", "LC_ALL=C", "sudo", "-H", "-S", "-n", "-u", "root", *remote]     # Ansible's become_flags
    return ["ssh", *ALONE, *_configured(), *shlex.split(values["ansible_ssh_common_args"]), *key,
            "-o", "KbdInteractiveAuthentication=no", "-o", "PasswordAuthentication=no",
            "-p", str(target.port), "-l", target.user, "--", target.address, shlex.join(remote)]


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
    names = {"host": target.name, "key": target.key_file or "that the agent or ~/.ssh has"}
    text = said.decode(errors="replace")
    for row in ROWS:
        if row.words in text:
            return HostFault(target.name, DOING, row.saw.format(**names), code=CODE, hint=row.hint.format(**names))
    words = readable("\n".join(_plain(text))) or "it fails without a word"
    return HostFault(target.name, DOING, words, code=CODE, hint=shlex.join(command(target)))


def _plain(text: str) -> Iterator[str]:
    """Leave out the lines of `@` that OpenSSH frames its warnings with."""
    for line in text.splitlines():
        if not line.startswith("@"):
            yield line
