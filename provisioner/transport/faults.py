"""Which row of the table of words an exception of paramiko is, and what sudo says; the faults that these become."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import paramiko
from paramiko.ssh_exception import NoValidConnectionsError

from provisioner.errors import Unreachable
from provisioner.model.words import table as words
from provisioner.model.words.row import Meaning
from provisioner.transport.target import Hop

BROKEN = (paramiko.SSHException, OSError, EOFError)     # what paramiko raises where a connection breaks, in any call

PROHIBITED = 1                                          # RFC 4254: a channel that is administratively prohibited
LOST = "connection-lost"
FORBIDDEN = "forwarding-forbidden"
GOES_ON = ("sudo-resolve", "sudo-syntax")                 # what sudo only warns of: something else has failed


class UnknownHostKey(paramiko.SSHException):
    """The place showed a key and none is pinned; raised before anything about us is sent."""

    def __init__(self, fingerprint: str, *, authority: bool = False) -> None:
        beside = " (known_hosts names an authority for it, which `trust` asks)" if authority else ""
        super().__init__(f"unknown host key {fingerprint}{beside}")
        self.fingerprint = fingerprint


class RevokedHostKey(paramiko.SSHException):
    """The place showed a key that known_hosts revokes."""

    def __init__(self, fingerprint: str) -> None:
        super().__init__(f"host key {fingerprint} is revoked in known_hosts (@revoked)")


class DamagedLine(paramiko.SSHException):
    """No key is pinned for the place, and known_hosts has lines that cannot be read: one of them may be its."""

    def __init__(self, places: Sequence[str]) -> None:
        super().__init__(f"no key is pinned for it, and {', '.join(places)} cannot be read as one")


class NeverGreeted(paramiko.SSHException):
    """The place took the connection and the handshake did not end in time."""


class HostFault(Unreachable):
    """An Unreachable that remembers its host and cause, so that many hosts' faults can be grouped."""

    def __init__(self, host: str, doing: str, saw: str, *, code: str, hint: str = "", details: Sequence[str] = (),
                 ) -> None:
        super().__init__(f"{host}: {doing}: {saw}", details=details, hint=hint, code=code)
        self.host = host
        self.saw = saw
        self.passes = code in PASSING or code == LOST


def meant(host: str, doing: str, means: Meaning, saw: str = "") -> HostFault:
    """Return the fault that words mean: headline, causes, cure; `saw` stands for the headline where it says more."""
    return HostFault(host, doing, saw or means.says, code=means.code, hint=means.cure,
                     details=[means.likely] if means.likely else [])


@dataclass(frozen=True)
class Row:
    """How one kind of failed connection is recognised; what it means is the row of that name in the table of words.

    `words` makes the words of it where the exception has none, or none that a person should read.
    """

    name: str
    match: Callable[[BaseException], bool]
    words: Callable[[BaseException], str] = str

    def meaning(self, e: BaseException, **names: object) -> Meaning:
        return words.row(self.name).meaning(self.words(e), names)


def _is(*types: type[BaseException]) -> Callable[[BaseException], bool]:
    return lambda e: isinstance(e, types)


def _errno(*numbers: int) -> Callable[[BaseException], bool]:
    def match(e: BaseException) -> bool:
        if isinstance(e, NoValidConnectionsError):
            return any(getattr(inner, "errno", None) in numbers for inner in e.errors.values())
        return isinstance(e, OSError) and e.errno in numbers
    return match


def _says(*words: str) -> Callable[[BaseException], bool]:
    return lambda e: isinstance(e, paramiko.SSHException) and any(w in str(e) for w in words)


def _changed(e: BaseException) -> str:
    assert isinstance(e, paramiko.BadHostKeyException)  # noqa: S101 - the table's match says so
    was, now = e.expected_key.fingerprint, e.key.fingerprint
    return f"host key changed (pinned {was}, now {now})"


def _of_paramiko(e: BaseException) -> str:
    return f"paramiko: {str(e) or type(e).__name__}"


CONNECT_FAULTS = (
    Row("host-key-changed", _is(paramiko.BadHostKeyException), _changed),
    Row("host-key-revoked", _is(RevokedHostKey)),
    Row("known-hosts-damaged", _is(DamagedLine)),
    Row("host-key-unknown", _is(UnknownHostKey)),
    Row("ssh-key-encrypted", _is(paramiko.PasswordRequiredException)),
    Row("ssh-silent", lambda e: isinstance(e, paramiko.AuthenticationException) and "timeout" in str(e)),
    Row("ssh-auth", _is(paramiko.AuthenticationException)),
    Row("ssh-no-key", _says("No authentication methods available")),
    Row("ssh-key-missing", _is(FileNotFoundError)),
    Row("ssh-algorithms", _is(paramiko.ssh_exception.IncompatiblePeer)),
    Row("ssh-too-many-keys", _says("No existing session")),
    Row("name-resolution", _is(socket.gaierror)),
    Row("ssh-refused", _errno(errno.ECONNREFUSED)),
    Row("ssh-no-route", _errno(errno.EHOSTUNREACH, errno.ENETUNREACH)),
    Row("ssh-timeout", _is(TimeoutError)),
    Row("jump-forbidden", lambda e: is_forbidden(e)),
    Row("ssh-silent", _is(NeverGreeted)),
    Row("jump-refused", _is(paramiko.ChannelException)),
    Row("ssh-dropped-early", _says("banner")),
    Row("ssh-dropped", _is(EOFError, ConnectionError)),
    Row("ssh-handshake-timeout", _says("Timeout")),
    Row("ssh", _is(paramiko.SSHException, OSError), _of_paramiko),
)

_DROPPED = ("ssh-dropped-early", "ssh-dropped")
# What a network that is mended makes go away; keys and users stay wrong.
PASSING = frozenset({"refused", "no-route", "timeout", "ssh-dropped", "ssh", "jump-refused"})


def row_of(e: BaseException) -> Row:
    """Return the first row that fits; the last one fits every SSH or operating system error."""
    return next(row for row in CONNECT_FAULTS if row.match(e))


def is_drop(e: BaseException) -> bool:
    """Say whether sshd hung up on a stranger (MaxStartups): worth another try."""
    return row_of(e).name in _DROPPED


def connect_fault(host: str, hop: Hop, e: BaseException, *, via: bool = False, key: Path | None = None) -> HostFault:
    """Tell a failed login as `<host>: connecting as user@addr:port: <saw>` with a hint to paste."""
    means = row_of(e).meaning(e, host=host, login=hop.login, user=hop.user, key=key)
    fault = meant(host, f"connecting as {hop}" + (" (jump host)" if via else ""), means)
    if via:     # where hosts with one cause are told in one line, none of them is to blame
        fault.saw = f"jump host {hop}: {fault.saw}"
    return fault


def is_forbidden(e: BaseException) -> bool:
    """Say whether sshd opened no way onwards because it may not, which is not that nobody listens there."""
    return isinstance(e, paramiko.ChannelException) and e.code == PROHIBITED


def key_fault(host: str, key: Path) -> HostFault | None:
    """Tell what else than a private key stands at `ssh.key`; None where it looks like one, or is not there at all."""
    try:
        begin = key.read_bytes()[:64]
    except FileNotFoundError:
        return None
    except OSError as e:
        return _bad_key(host, f"{key}: {e.strerror}", "in cluster.yaml set `ssh.key` to the file of a private key")
    if begin.startswith((b"ssh-", b"ecdsa-", b"sk-")):
        private = key.with_suffix("") if key.suffix == ".pub" else "the private half"
        return _bad_key(host, f"{key} is a public key", f"in cluster.yaml: ssh.key: {private}")
    if b"PRIVATE KEY" not in begin:
        return _bad_key(host, f"{key} is no private key", "in cluster.yaml set `ssh.key` to the file of a private key")
    return None


def _bad_key(host: str, saw: str, hint: str) -> HostFault:
    return HostFault(host, "reading ssh.key", saw, code="ssh-key-unusable", hint=hint)


def lost(host: str, doing: str, e: BaseException) -> HostFault:
    """Tell that a connection which stood broke meanwhile: what was asked may be asked again on a new one."""
    saw = f"the connection was lost ({e})" if str(e) else "the connection was lost"
    return HostFault(host, doing, saw, code=LOST)


def session_fault(host: str) -> HostFault:
    """Tell that sshd opens not even one session to run a command in."""
    return meant(host, "opening a session", words.row("no-session").meaning("", {"host": host}))


def forwarding_fault(host: str) -> HostFault:
    """Tell that etcd and the API of this host cannot be reached through its sshd."""
    return meant(host, "reaching etcd and the API through SSH", words.row(FORBIDDEN).meaning("", {"host": host}))


def sudo_fault(host: str, user: str, stderr: bytes) -> HostFault | None:
    """Return the fault that sudo's words mean, or None where it was not sudo that failed."""
    text = stderr.decode(errors="replace")
    means = words.meaning(text, "sudo", host=host, user=user) if "sudo" in text else None
    return meant(host, "becoming root", means) if means is not None and means.name not in GOES_ON else None
