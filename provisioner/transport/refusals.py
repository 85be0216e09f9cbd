"""What it means when a host runs something else than what we asked for: its own words, and what cures it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from signal import Signals, valid_signals

from provisioner.errors import KubewrightError
from provisioner.transport.faults import HostFault
from provisioner.transport.streams import Completed
from provisioner.transport.target import Target

TOO_OLD = "too old"             # how the applier's bootstrap begins when it cannot run there
APPLIER = "applier: "           # how the applier's own faults begin
LONGEST = 300                   # characters of a host's words that are shown
_SIGNALLED = 128                # a shell's exit status for a command that a signal has ended, and the signal's number
NO_BECOME = "in cluster.yaml: ssh.become: sudo"
_FULL_PYTHON = "on {host}: apt-get install -y python3"


@dataclass(frozen=True)
class Saying:
    """A sentence that logins print instead of running a command, and what to do about it; `{0}` is its first group."""

    words: re.Pattern[str]
    hint: str


def _saying(words: str, hint: str) -> Saying:
    return Saying(re.compile(words, re.IGNORECASE), hint)


SAYINGS = (
    _saying(r"log ?in as the user [\"'`]?([a-z_][\w.-]*)", "in cluster.yaml: ssh.user: {0}"),
    _saying(r"not currently available|currently not available|nologin",
            "in cluster.yaml set `ssh.user` to a user with a shell, or on {host}: usermod -s /bin/bash {user}"),
    _saying(r"password (has )?expired|password change required|change your password", "on {host}: passwd {user}"),
    _saying(r"sftp connections? only|interactive git shell|restricted",
            "in cluster.yaml set `ssh.user` to a user who may run commands on {host}"),
)
_ELSE = "see for yourself: ssh -p {port} {user}@{address} true; then set `ssh.user` in cluster.yaml"


def refusal(target: Target, doing: str, done: Completed) -> KubewrightError:
    """Return the fault that a bad end of an applier command is.

    Only what the applier itself has said, and a traceback of it, is no fault of the host's login or its Python.
    """
    host, err = target.name, done.stderr.decode(errors="replace").strip()
    lines = err.splitlines()
    last = lines[-1] if lines else ""
    if err.startswith(TOO_OLD):
        return HostFault(host, doing, f"{err.removeprefix(f'{TOO_OLD}: ')} is {TOO_OLD}; 3.9 is needed",
                         code="python-old", hint=f"install a newer operating system on {host}")
    if last.startswith(("ModuleNotFoundError", "ImportError", "Fatal Python error")) or "init_fs_encoding" in err:
        return HostFault(host, doing, f"its Python is not whole: {readable(last)}", code="python-incomplete",
                         hint=_FULL_PYTHON.format(host=host))
    if "[Errno 13]" in last and not target.elevates and target.user != "root":
        return HostFault(host, "becoming root", f"we are {target.user} there, and become nobody else",
                         code="sudo-none", hint=NO_BECOME)
    if any(line.startswith((APPLIER, "Traceback")) for line in lines):
        return KubewrightError(f"{host}: {doing}: exit {done.rc}: {readable(last)}", code="applier-failed",
                               details=[readable(line) for line in lines[-20:-1]])
    if "python3" in err and ("not found" in err or "No such file" in err):
        return HostFault(host, doing, "there is no python3 on the host", code="no-python",
                         hint=_FULL_PYTHON.format(host=host))
    return only_says(target, doing, done)


def only_says(target: Target, doing: str, done: Completed) -> HostFault:
    """Return the fault of a login that runs something else than our command: a sentence, or nothing at all."""
    names = {"host": target.name, "user": target.user, "port": target.port, "address": target.address}
    for text in _texts(done):
        for saying in SAYINGS:
            found = saying.words.search(text)
            if found:
                return HostFault(target.name, doing, f"the login of {target.user} only says: {text}",
                                 code="login-only-says", hint=saying.hint.format(*found.groups(), **names))
    saw = next(_texts(done), "")
    saw = f"the login of {target.user} only says: {saw}" if saw else _silent(target, done.rc)
    return HostFault(target.name, doing, saw, code="login-only-says", hint=_ELSE.format(**names))


def _silent(target: Target, rc: int) -> str:
    if rc - _SIGNALLED in valid_signals():
        return f"what we run there is ended by {Signals(rc - _SIGNALLED).name}, without a word"
    return f"the login of {target.user} ends with exit {rc}, without a word"


def _texts(done: Completed) -> Iterator[str]:
    """Return what was said on both streams, the one first that words for people come on."""
    for stream in (done.stdout, done.stderr):
        text = readable(stream.decode(errors="replace"))
        if text:
            yield text


def readable(text: str) -> str:
    """Return a host's words as one line that no terminal takes for more than words."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(plain.split())[:LONGEST]
