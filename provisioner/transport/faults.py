"""One table from what paramiko and sudo say to what a person reads."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import paramiko
from paramiko.ssh_exception import NoValidConnectionsError

from provisioner.errors import Unreachable
from provisioner.transport.target import Hop

BROKEN = (paramiko.SSHException, OSError, EOFError)     # what paramiko raises where a connection breaks, in any call

PROHIBITED = 1                                          # RFC 4254: a channel that is administratively prohibited
LOST = "connection-lost"
FORBIDDEN = "forwarding-forbidden"
FORBIDS = "sshd forbids forwarding (AllowTcpForwarding/DisableForwarding/PermitOpen)"
# sshd takes the first value that it reads; Debian's and Red Hat's begin with these files, in the order of their names.
PERMIT = ("printf 'AllowTcpForwarding local\\nDisableForwarding no\\nPermitOpen any\\n' "
          "> /etc/ssh/sshd_config.d/00-0-kubewright.conf && systemctl reload ssh    # unless a Match block forbids it")


class UnknownHostKey(paramiko.SSHException):
    """The place showed a key and none is pinned; raised before anything about us is sent."""

    def __init__(self, fingerprint: str, *, authority: bool = False) -> None:
        beside = " (its @cert-authority is for ssh's certificates, which are not supported)" if authority else ""
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

    def __init__(self, host: str, doing: str, saw: str, *, code: str, hint: str = "") -> None:
        super().__init__(f"{host}: {doing}: {saw}", hint=hint, code=code)
        self.host = host
        self.saw = saw
        self.passes = code in PASSING or code == LOST


@dataclass(frozen=True)
class Row:
    """How one kind of failed connection is recognised and told; `{host}` stands for the host's name."""

    code: str
    match: Callable[[BaseException], bool]
    saw: Callable[[BaseException], str]
    hint: str = ""


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


def _text(text: str) -> Callable[[BaseException], str]:
    return lambda e: text


def _changed(e: BaseException) -> str:
    assert isinstance(e, paramiko.BadHostKeyException)  # noqa: S101 - the table's match says so
    was, now = e.expected_key.fingerprint, e.key.fingerprint
    return f"host key changed (pinned {was}, now {now})"


CONNECT_FAULTS = (
    Row("host-key-changed", _is(paramiko.BadHostKeyException), _changed,
        "reinstalled on purpose? `kubewright trust {host} --replace`. Otherwise stop here: someone may be in between."),
    Row("host-key-revoked", _is(RevokedHostKey), str,
        "stop here: someone may be in between. A new key of that machine: `kubewright trust {host} --replace`"),
    Row("known-hosts-damaged", _is(DamagedLine), str, "kubewright trust {host}, and take the damaged lines out"),
    Row("host-key-unknown", _is(UnknownHostKey), str, "kubewright trust {host}"),
    Row("ssh-key-encrypted", _is(paramiko.PasswordRequiredException), _text("the private key has a passphrase"),
        "ssh-add the key first: the agent's keys are used"),
    Row("ssh-auth", _is(paramiko.AuthenticationException),
        _text("authentication failed: no key of ours is accepted (`ssh.user` and `ssh.key` say what is tried)"),
        "ssh-copy-id {login}"),
    Row("ssh-auth", _says("No authentication methods available"), _text("authentication failed: we have no key"),
        "set `ssh.key` in cluster.yaml, or start an agent that holds the key"),
    Row("ssh-key-missing", _is(FileNotFoundError), lambda e: f"no private key file {getattr(e, 'filename', '')}",
        "set `ssh.key` in cluster.yaml to a file that exists"),
    Row("ssh-algorithms", _is(paramiko.ssh_exception.IncompatiblePeer), str,
        "on {host}, allow one of ours beside its own in sshd_config: KexAlgorithms +curve25519-sha256, "
        "Ciphers +aes128-gcm@openssh.com, MACs +hmac-sha2-256-etm@openssh.com"),
    Row("ssh-too-many-keys", _says("No existing session"), _text("sshd hung up: the agent offered too many keys"),
        "set `ssh.key` in cluster.yaml: then only that key is offered (sshd's MaxAuthTries is 6)"),
    Row("name-resolution", _is(socket.gaierror), _text("the name does not resolve"),
        "in cluster.yaml: a name that this machine knows as hosts.{host}.ssh.host (or in ssh.jump), or an address"),
    Row("refused", _errno(errno.ECONNREFUSED), _text("connection refused"), "is sshd running there, on that port?"),
    Row("no-route", _errno(errno.EHOSTUNREACH, errno.ENETUNREACH), _text("no route to the host"),
        "does one reach it elsewhere than the cluster does? in cluster.yaml: hosts.{host}.ssh.host"),
    Row("timeout", _is(TimeoutError), _text("no answer (timeout)"),
        "is the machine up, and does a firewall let us through?"),
    Row(FORBIDDEN, lambda e: is_forbidden(e), _text(f"the jump host's {FORBIDS}"), f"there: {PERMIT}"),
    Row("timeout", _is(NeverGreeted), _text("it takes the connection and then says nothing (timeout)"),
        "is it sshd that listens there, and does the machine hang?"),
    Row("jump-refused", _is(paramiko.ChannelException), _text("the jump host could not connect onwards")),
    Row("ssh-dropped", _says("banner"), _text("the connection was dropped before sshd greeted us"),
        "sshd's MaxStartups may be too low for this many logins at once"),
    Row("ssh-dropped", _is(EOFError, ConnectionError), _text("the connection was dropped during the handshake")),
    Row("timeout", _says("Timeout"), _text("no answer (timeout) during the handshake")),
    Row("ssh", _is(paramiko.SSHException, OSError), lambda e: str(e) or type(e).__name__),
)

_DROPPED = ("ssh-dropped",)
# What a network that is mended makes go away; keys and users stay wrong.
PASSING = frozenset({"refused", "no-route", "timeout", "ssh-dropped", "ssh", "jump-refused"})


def row_of(e: BaseException) -> Row:
    """Return the first row that fits; the last one fits every SSH or operating system error."""
    return next(row for row in CONNECT_FAULTS if row.match(e))


def is_drop(e: BaseException) -> bool:
    """Say whether sshd hung up on a stranger (MaxStartups): worth another try."""
    return row_of(e).code in _DROPPED


def connect_fault(host: str, hop: Hop, e: BaseException, *, via: bool = False) -> HostFault:
    """Tell a failed login as `<host>: connecting as user@addr:port: <saw>` with a hint to paste."""
    row = row_of(e)
    doing = f"connecting as {hop}" + (" (jump host)" if via else "")
    fault = HostFault(host, doing, row.saw(e), code=row.code, hint=row.hint.format(host=host, login=hop.login))
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
    return HostFault(host, "opening a session", "sshd opens none (MaxSessions)", code="no-session",
                     hint=f"on {host}: set `MaxSessions 10` in sshd_config, at least for this user; "
                          "systemctl reload ssh")


def forwarding_fault(host: str) -> HostFault:
    """Tell that etcd and the API of this host cannot be reached through its sshd."""
    return HostFault(host, "reaching etcd and the API through SSH", FORBIDS, code=FORBIDDEN,
                     hint=f"on {host}: {PERMIT}")


@dataclass(frozen=True)
class SudoRow:
    """What sudo says when it will not run a command, and what to do about it."""

    code: str
    words: bytes
    saw: str
    hint: str


SUDO_FAULTS = (
    SudoRow("sudo-password", b"password is required", "sudo asks for a password",
            "on {host}: echo '{user} ALL=(ALL) NOPASSWD:ALL' | sudo tee /etc/sudoers.d/kubewright"),
    SudoRow("sudo-password", b"terminal is required", "sudo asks for a password",
            "on {host}: echo '{user} ALL=(ALL) NOPASSWD:ALL' | sudo tee /etc/sudoers.d/kubewright"),
    SudoRow("sudo-tty", b"must have a tty", "sudo insists on a terminal (requiretty)",
            "on {host}: remove `requiretty` from sudoers"),
    SudoRow("sudo-refused", b"not in the sudoers file", "the user may not use sudo",
            "on {host}: add {user} to sudoers, or set `ssh.user` in cluster.yaml"),
    SudoRow("sudo-refused", b"not allowed to", "the user may not run this through sudo",
            "on {host}: allow {user} to run any command through sudo"),
    SudoRow("sudo-missing", b"sudo: command not found", "there is no sudo on the host",
            "log in as root with `become: none`, or install sudo on {host}"),
    SudoRow("sudo-missing", b"sudo: not found", "there is no sudo on the host",
            "log in as root with `become: none`, or install sudo on {host}"),
)


def sudo_fault(host: str, user: str, stderr: bytes) -> HostFault | None:
    """Return the fault that sudo's words mean, or None where it was not sudo that failed."""
    if b"sudo:" not in stderr and b"sudoers" not in stderr:
        return None
    for row in SUDO_FAULTS:
        if row.words in stderr:
            return HostFault(host, "becoming root", row.saw, code=row.code, hint=row.hint.format(host=host, user=user))
    return None
