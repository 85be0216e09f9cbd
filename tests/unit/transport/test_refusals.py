"""What a host says instead of an answer: over a real sshd where that is cheap, else recorded ends of commands."""

from __future__ import annotations

import getpass
from pathlib import Path

import pytest

from provisioner.errors import KubewrightError, Unreachable
from provisioner.transport.faults import HostFault
from provisioner.transport.pool import Pool
from provisioner.transport.refusals import refusal
from provisioner.transport.remote import SshHosts
from provisioner.transport.streams import Completed
from provisioner.transport.target import Target
from tests.fakes.sshd import SSHD, run_sshd

TARGET = Target("w1", "10.77.0.21", 22, "root", "sudo", None, Path("known_hosts"))
CLOUD_INIT = b'Please login as the user "debian" rather than the user "root".\n\n'
SELF = "see for yourself: ssh -p 22 root@10.77.0.21 true; then set `ssh.user` in cluster.yaml"
SHELL = "in cluster.yaml set `ssh.user` to a user with a shell, or on w1: usermod -s /bin/bash root"
LACKS_JSON = (b'Traceback (most recent call last):\n  File "<string>", line 1, in <module>\n'
              b'  File "/proc/self/fd/3/applier/main.py", line 5, in <module>\n'
              b"ModuleNotFoundError: No module named 'json'\n")


@pytest.mark.parametrize(("rc", "stdout", "stderr", "code", "saw", "hint"), [
    (142, CLOUD_INIT, b"", "login-only-says",
     'the login of root only says: Please login as the user "debian" rather than the user "root".',
     "in cluster.yaml: ssh.user: debian"),
    (142, b"Please login as the user \"ec2-user\" rather than the user \"root\".\n", b"", "login-only-says",
     'the login of root only says: Please login as the user "ec2-user" rather than the user "root".',
     "in cluster.yaml: ssh.user: ec2-user"),
    (1, b"This account is currently not available.\n", b"", "login-only-says",
     "the login of root only says: This account is currently not available.", SHELL),
    (1, b"", b"WARNING: Your password has expired.\nPassword change required but no TTY available.\n",
     "login-only-says", "the login of root only says: WARNING: Your password has expired. "
     "Password change required but no TTY available.", "on w1: passwd root"),
    (1, b"This service allows sftp connections only.\n", b"", "login-only-says",
     "the login of root only says: This service allows sftp connections only.",
     "in cluster.yaml set `ssh.user` to a user who may run commands on w1"),
    (1, b"", b"", "login-only-says", "the login of root ends with exit 1, without a word", SELF),
    (137, b"", b"", "login-only-says", "what we run there is ended by SIGKILL, without a word", SELF),
    (1, b"\x1b[31mGo\x07 away\x1b[0m\n", b"", "login-only-says", "the login of root only says: [31mGo away [0m", SELF),
    (127, b"", b"env: 'python3': No such file or directory\n", "no-python",
     "there is no python3 on the host", "on w1: apt-get install -y python3"),
    (1, b"", b"sudo: python3: command not found\n", "no-python",
     "there is no python3 on the host", "on w1: apt-get install -y python3"),
    (1, b"", LACKS_JSON, "python-incomplete", "its Python is not whole: ModuleNotFoundError: No module named 'json'",
     "on w1: apt-get install -y python3"),
    (1, b"", b"Fatal Python error: init_fs_encoding: failed to get the Python codec of the filesystem encoding\n"
     b"ModuleNotFoundError: No module named 'encodings'\n", "python-incomplete",
     "its Python is not whole: ModuleNotFoundError: No module named 'encodings'",
     "on w1: apt-get install -y python3"),
])
def test_a_host_that_runs_something_else_is_told_in_its_own_words_with_a_cure(
        rc: int, stdout: bytes, stderr: bytes, code: str, saw: str, hint: str) -> None:
    fault = refusal(TARGET, "applier observe", Completed(rc, stdout, stderr))
    assert isinstance(fault, HostFault)
    assert (fault.code, fault.saw, fault.hint, fault.exit_code) == (code, saw, hint, 12)
    assert all(line.startswith("likely: ") for line in fault.details)


def test_a_traceback_of_the_applier_itself_stays_our_bug() -> None:
    err = b"Traceback (most recent call last):\n  File \"x\"\nKeyError: 'python3 not found'\n"
    fault = refusal(TARGET, "applier observe", Completed(1, b"", err))
    assert (fault.code, fault.exit_code) == ("applier-failed", 1)


@pytest.mark.parametrize(("command", "saw", "hint"), [
    ("""echo 'Please login as the user "debian" rather than the user "root".';sleep 0;exit 142""",
     'only says: Please login as the user "debian"', "in cluster.yaml: ssh.user: debian"),
    ("/usr/sbin/nologin", "only says: This account is currently not available.", "usermod -s"),
    ("/bin/false", "ends with exit 1, without a word", "see for yourself"),
    ("/bin/true", "ends with exit 0, without a word", "see for yourself"),
    ("echo Have a nice day", "only says: Have a nice day", "see for yourself")])
def test_a_login_that_only_says_something_is_the_hosts_fault_and_not_a_bug_of_ours(
        tmp_path: Path, command: str, saw: str, hint: str) -> None:
    if not SSHD.exists():
        pytest.skip("openssh-server is not installed")
    with run_sshd(tmp_path / "sshd", f"ForceCommand {command}") as server:
        (tmp_path / "known_hosts").write_text(server.known_hosts)
        target = Target("cp2", "127.0.0.1", server.port, getpass.getuser(), "none", server.key,
                        tmp_path / "known_hosts")
        with Pool({"cp2": target}) as pool, pytest.raises(Unreachable) as caught:
            SshHosts(pool).observe({"cp2": ()})
    assert caught.value.message.startswith("cp2: applier observe: ") and saw in caught.value.message
    assert hint in caught.value.hint and isinstance(caught.value, HostFault)


def test_a_user_who_may_not_read_there_and_becomes_nobody_else_is_not_root() -> None:
    target = Target("w1", "10.77.0.21", 22, "admin", "none", None, Path("known_hosts"))
    denied = Completed(1, b"", b"applier: [Errno 13] Permission denied: '/var/lib/kubewright/lock'\n")
    fault = refusal(target, "applier observe", denied)
    assert (fault.code, fault.exit_code, fault.hint) == ("sudo-none", 12, "in cluster.yaml: ssh.become: sudo")
    assert fault.message == "w1: becoming root: we are admin there, and become nobody else"


def test_any_other_failure_is_still_a_fault_with_words() -> None:
    with pytest.raises(KubewrightError, match="w1: x: exit 1: applier: disk full"):
        raise refusal(TARGET, "x", Completed(1, b"", b"applier: disk full\n"))
