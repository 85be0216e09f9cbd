"""What it means when a host runs something else than what we asked for: its own words, and what cures it."""

from __future__ import annotations

from collections.abc import Iterator
from signal import Signals, valid_signals

from provisioner.errors import KubewrightError
from provisioner.model.words import table as words
from provisioner.transport.faults import HostFault, meant
from provisioner.transport.streams import Completed
from provisioner.transport.target import Target

TOO_OLD = "too old"             # how the applier's bootstrap begins when it cannot run there
APPLIER = "applier: "           # how the applier's own faults begin
LONGEST = 300                   # characters of a host's words that are shown
_SIGNALLED = 128                # a shell's exit status for a command that a signal has ended, and the signal's number
NO_BECOME = "in cluster.yaml: ssh.become: sudo"


ONLY_SAYS = "login-only-says"
_ELSE = "see for yourself: ssh -p {port} {user}@{address} true; then set `ssh.user` in cluster.yaml"


def refusal(target: Target, doing: str, done: Completed) -> KubewrightError:
    """Return the fault that a bad end of an applier command is.

    Only what the applier itself has said, and a traceback of it, is no fault of the host's login or its Python.
    """
    host, err = target.name, done.stderr.decode(errors="replace").strip()
    lines = err.splitlines()
    last = lines[-1] if lines else ""
    if err.startswith(TOO_OLD):
        return meant(host, doing, words.row("python-old").meaning(err, {"host": host}))
    if last.startswith(("ModuleNotFoundError", "ImportError", "Fatal Python error")) or "init_fs_encoding" in err:
        means = words.row("python-incomplete").meaning(last, {"host": host})
        return meant(host, doing, means, f"its Python is not whole: {readable(last)}")
    if "[Errno 13]" in last and not target.elevates and target.user != "root":
        return HostFault(host, "becoming root", f"we are {target.user} there, and become nobody else",
                         code="sudo-none", hint=NO_BECOME)
    if any(line.startswith((APPLIER, "Traceback")) for line in lines):
        return KubewrightError(f"{host}: {doing}: exit {done.rc}: {readable(last)}", code="applier-failed",
                               details=[readable(line) for line in lines[-20:-1]])
    if "python3" in err and ("not found" in err or "No such file" in err):
        return meant(host, doing, words.row("python-missing").meaning(err, {"host": host}))
    return only_says(target, doing, done)


def only_says(target: Target, doing: str, done: Completed) -> HostFault:
    """Return the fault of a login that runs something else than our command: a sentence, or nothing at all."""
    names = {"host": target.name, "user": target.user, "port": target.port, "address": target.address}
    for text in _texts(done):
        means = words.meaning(text, "ssh", **names)
        if means is not None and means.code == ONLY_SAYS:
            return meant(target.name, doing, means, f"the login of {target.user} only says: {text}")
    saw = next(_texts(done), "")
    saw = f"the login of {target.user} only says: {saw}" if saw else _silent(target, done.rc)
    return HostFault(target.name, doing, saw, code=ONLY_SAYS, hint=_ELSE.format(**names))


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
