"""One ansible-playbook run: fresh private directory, nothing secret in it, dead when we are dead."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from ansible_runner.config.runner import RunnerConfig
from ansible_runner.runner import Runner
from ansible_runner.utils import get_callback_dir

import provisioner
from provisioner import swift_end
from provisioner.converge import leash
from provisioner.converge.hosts import ansible_inventory, inventory_text
from provisioner.converge.results import HostResult, begins, finished, of_event
from provisioner.model.events import Emit, Event
from provisioner.model.inventory import Inventory
from provisioner.model.paths import data_dir
from provisioner.transport.target import Target, targets_of

CANCEL_POLL = 0.5       # seconds between two looks at `cancel` and the deadline
MAX_FORKS = 50
PREPARE = "prepare.yml"
JUMP_FORKS = 8          # sshd's default MaxStartups 10:30:100 drops at random from the eleventh stranger on
BECOME_PROMPT = r"^BECOME password.*:\s*?$"     # of ansible-playbook, at the terminal that ansible-runner makes for it
Cancel = Callable[[], bool]
# What ansible-playbook needs of our environment; the rest (and what secrets it may hold) stays here.
ENVIRONMENT = ("PATH", "HOME", "USER", "LOGNAME", "TERM", "TMPDIR", "TZ", "SSH_AUTH_SOCK")
LOCALE = "C.UTF-8"      # every libc has it; Ansible does not start under one that this machine lacks


def apply(
    inventory: Inventory, bundles_dir: Path, hosts: Sequence[str], *, run_dir: Path, emit: Emit,
    timeout: float = 900.0, cancel: Cancel = lambda: False,
) -> dict[str, HostResult]:
    """Carry each host's bundle to it and return every host's outcome; the hosts keep the result as well.

    The bundles hold secrets in the clear: whoever wrote them removes them.
    """
    return _play("apply.yml", inventory, bundles_dir, hosts, run_dir, emit, timeout, cancel)


def prepare(
    inventory: Inventory, bundles_dir: Path, hosts: Sequence[str], *, run_dir: Path, emit: Emit,
    timeout: float = 1800.0, cancel: Cancel = lambda: False, idle: Sequence[str] = (),
) -> dict[str, HostResult]:
    """Install packages and set users, sysctls, modules and swap as `HOST.prepare.json` in `bundles_dir` says.

    `idle` are the lists there that are empty for all hosts: their tasks are left out.
    """
    return _play(PREPARE, inventory, bundles_dir, hosts, run_dir, emit, timeout, cancel, idle)


def _play(
    playbook: str, inventory: Inventory, bundles_dir: Path, hosts: Sequence[str], run_dir: Path, emit: Emit,
    timeout: float, cancel: Cancel, skip_tags: Sequence[str] = (),
) -> dict[str, HostResult]:
    if not hosts:
        return {}
    private = _private_dir(run_dir, Path(playbook).stem)
    static = private / "hosts.yaml"
    targets = {host: target for host, target in targets_of(inventory).items() if host in hosts}
    hosts_inventory = ansible_inventory(targets, bundles=str(bundles_dir.resolve()))
    static.write_text(inventory_text(hosts_inventory), encoding="utf-8")
    watch = _Watch(emit, time.monotonic() + timeout, cancel, private / "leash.pid", tasks=playbook == PREPARE)
    config = _config(private, playbook, static, _password(targets), skip_tags)
    config.env["ANSIBLE_FORKS"] = str(forks(targets))
    runner = Runner(config=config, event_handler=watch.event, cancel_callback=watch.poll)
    try:
        runner.run()
    finally:
        watch.end()
        _scrub(Path(config.artifact_dir))
    return {host: watch.outcome(host, runner.rc, private) for host in hosts}


def forks(targets: Mapping[str, Target]) -> int:
    """Return how many hosts to work on at once: no more logins through a jump host than its sshd greets for sure."""
    through_jump = any(target.jump is not None for target in targets.values())
    return JUMP_FORKS if through_jump else max(1, min(len(targets), MAX_FORKS))


def _private_dir(run_dir: Path, name: str) -> Path:
    parent = run_dir / "ansible"
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=parent))


def _password(targets: Mapping[str, Target]) -> str | None:
    """Return what sudo is told where it asks: the same on all hosts."""
    return next((t.password for t in targets.values() if t.password is not None), None)


def _config(private: Path, playbook: str, static: Path, password: str | None, skip_tags: Sequence[str],
            ) -> RunnerConfig:
    playbooks = data_dir("playbooks")
    config = RunnerConfig(
        private_data_dir=str(private), ident="run", project_dir=str(playbooks), host_cwd=str(private),
        playbook=str(playbooks / playbook), inventory=str(static), skip_tags=",".join(skip_tags) or None,
        suppress_ansible_output=True, suppress_env_files=True, quiet=True, fact_cache_type="",
        envvars=_settings(private, playbooks), passwords=None if password is None else {BECOME_PROMPT: password})
    config.prepare()
    ansible = str(Path(sys.executable).with_name("ansible-playbook"))
    config.command = leash.leashed(
        str(private / "leash.pid"), sys.executable, "-P", swift_end.__file__, ansible, *config.command[1:],
        *([] if password is None else ["--ask-become-pass"]))
    config.env = _environment(private, playbooks, config.artifact_dir)
    config.suppress_ansible_output = True
    config.pexpect_timeout = CANCEL_POLL
    return config


def _environment(private: Path, playbooks: Path, artifacts: str) -> dict[str, str]:
    """Return all that ansible-playbook sees: a run must not depend on who starts it, nor learn what they hold."""
    return {k: os.environ[k] for k in ENVIRONMENT if k in os.environ} | _settings(private, playbooks) | {
        "ANSIBLE_CALLBACK_PLUGINS": str(get_callback_dir()),
        "ANSIBLE_STDOUT_CALLBACK": "awx_display",   # ansible-runner's: it writes the events that we read
        "AWX_ISOLATED_DATA_DIR": artifacts,
        "LC_ALL": LOCALE,
        "PYTHONPATH": str(Path(provisioner.__file__).parent.parent),
    }


def _settings(private: Path, playbooks: Path) -> dict[str, str]:
    return {
        "ANSIBLE_CONFIG": str(playbooks / "ansible.cfg"),
        "ANSIBLE_INVENTORY_ENABLED": "ansible.builtin.yaml",    # ours is for use by hand, and long to load
        "ANSIBLE_HOST_KEY_CHECKING": "True",    # ansible-runner turns it off where this is not said
        "ANSIBLE_HOME": str(private / "home"),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(control_dir()),
    }


@lru_cache(maxsize=1)
def control_dir() -> Path:
    """Return the 0700 directory of this process for ssh's control sockets, whose paths must stay under 108 bytes."""
    sweep()
    directory = Path(tempfile.mkdtemp(prefix=f"kw-{os.getpid()}-"))
    atexit.register(close_masters, directory)
    return directory


def sweep() -> None:
    """Close what processes of ours left that were killed before they could.

    Everybody may write to the temporary directory: a link there is another's, and leads to files that are not sockets.
    """
    for directory in Path(tempfile.gettempdir()).glob("kw-*-*"):
        with contextlib.suppress(OSError):
            pid, seen = directory.name.split("-")[1], directory.lstat()
            ours = stat.S_ISDIR(seen.st_mode) and seen.st_uid == os.getuid()
            if pid.isdigit() and ours and not Path(f"/proc/{pid}").exists():
                close_masters(directory)


def close_masters(directory: Path) -> None:
    """End the ssh masters that ControlPersist keeps, and remove their directory: nothing of ours stays behind."""
    for socket in directory.glob("*"):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(["ssh", "-F", "none", "-O", "exit", "-o", f"ControlPath={socket}", "kubewright"],
                           capture_output=True, timeout=5, check=False)
        socket.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        directory.rmdir()


def _scrub(artifacts: Path) -> None:
    """Take the environment out of the `command` artifact."""
    file = artifacts / "command"
    with contextlib.suppress(OSError, ValueError):
        record = json.loads(file.read_text(encoding="utf-8"))
        record["env"] = {}
        file.write_text(json.dumps(record), encoding="utf-8")


@dataclass
class _Watch:
    """Follows one run: hosts' outcomes as they come, the deadline, and the wish to stop."""

    emit: Emit
    deadline: float
    cancel: Cancel
    pid_file: Path
    tasks: bool                 # tell which task begins; of a play of one nobody needs that
    results: dict[str, HostResult] = field(default_factory=dict)
    stopped: str = ""

    def event(self, event: Mapping[str, Any]) -> bool:
        """Take one runner event; False keeps it out of the artifacts."""
        task = begins(event) if self.tasks else ""
        if task:
            self.emit(Event("waiting", time.time(), message=task))
        result = of_event(event)
        if result is not None:
            self._keep(result)
        for host in finished(event) - self.results.keys():
            self._keep(HostResult(host, "done"))
        return False

    def _keep(self, result: HostResult) -> None:
        self.results[result.host] = result
        self.emit(result.event(time.time()))

    def poll(self) -> bool:
        """Stop the playbook at the deadline or on the caller's wish; the leash kills all that it started."""
        if not self.stopped and self.cancel():
            self.stopped = "stopped on request; what runs on the host goes on there"
        elif not self.stopped and time.monotonic() > self.deadline:
            self.stopped = "no result before the deadline; what runs on the host goes on there"
        if self.stopped:
            self.end()      # again at every look: the leash may not have written its number yet
        return False

    def end(self) -> None:
        """End the playbook's processes, if any are left; the number is used only while it is still our leash's."""
        with contextlib.suppress(OSError, ValueError):
            pid = int(self.pid_file.read_text(encoding="utf-8"))
            if os.fsencode(self.pid_file) in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGTERM)

    def outcome(self, host: str, rc: int, private: Path) -> HostResult:
        """Return the host's outcome; a host that the run did not speak of has failed."""
        if host in self.results:
            return self.results[host]
        if self.stopped:
            return HostResult(host, "canceled", message=self.stopped)
        said = _last_words(private)
        message = f"ansible-playbook ended with {rc}: {said.splitlines()[-1]}"
        return HostResult(host, "failed", message=message, said=said)


def _last_words(private: Path) -> str:
    with contextlib.suppress(OSError):
        lines = (private / "artifacts/run/stdout").read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(line.rstrip() for line in lines[-20:] if line.strip()) or "no output"
    return "no output"
