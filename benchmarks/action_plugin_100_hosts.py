"""Does an Ansible action plugin that pipes a bundle reach 100 hosts, and if not, why?

Plays playbooks/apply.yml against sshds of this machine's own, with the settings that are under suspicion, and writes
one raw sample a run. The hosts' `python3` is a stand-in that reads what the applier reads and answers `done`, so the
figure is the carrier's, not the applier's. Run: `python benchmarks/action_plugin_100_hosts.py [--repeat 3]`.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from provisioner.converge.hosts import ansible_inventory, inventory_text  # noqa: E402
from provisioner.converge.runner import JUMP_FORKS  # noqa: E402
from provisioner.transport.target import Hop, Target  # noqa: E402
from tests.fakes.sshd import Sshd, run_sshd  # noqa: E402
from tests.lab.figures import DEPENDS_ON  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "action_plugin_100_hosts.yaml"
PAYLOAD = 60_000        # bytes of changes a host: about a control plane's first bundle
ANSWER = """#!{python} -IS
import sys
stream = sys.stdin.buffer
stream.read(int(stream.readline()))
stream.read()
print('{{"step": "bench", "status": "done", "changes": []}}')
"""
SUDO = """#!/bin/sh
sleep {seconds}
while :; do case "$1" in -u) shift 2;; -*) shift;; *) exec "$@";; esac; done
"""
RECAP = re.compile(r"^\S+\s+: ok=(\d+).*unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)
REASONS = {
    "sshd hung up before the handshake (MaxStartups)": r"kex_exchange_identification|Connection (closed|reset) by",
    "sshd refused a session on a shared login (MaxSessions)": r"Session open refused by peer",
    "no word from sudo within timeout + 2 s": r"waiting for privilege escalation prompt",
    "no answer within ConnectTimeout": r"Connection timed out|Operation timed out",
}


@dataclass(frozen=True)
class Case:
    """One arrangement: how many sshds serve the 100 names, with which limits, and Ansible's settings."""

    name: str
    sshds: int
    options: tuple[str, ...] = ()           # of sshd; none = OpenSSH's defaults (MaxStartups 10:30:100, MaxSessions 10)
    shared_login: bool = False              # Ansible's default: one ControlPath per address, port and user
    jump: bool = False                      # all through one jump host with sshd's defaults
    sudo_seconds: int = 0                   # how long sudo (a stand-in) is silent before it runs the command
    settings: tuple[tuple[str, str], ...] = ()      # over playbooks/ansible.cfg


DEFAULTS = (("ANSIBLE_SSH_RETRIES", "0"), ("ANSIBLE_TIMEOUT", "10"))
WIDE = ("MaxStartups 1000", "MaxSessions 10")
CASES = (
    Case("own sshd each, Ansible's defaults", 100, settings=DEFAULTS),
    Case("own sshd each, Ansible's defaults, 100 forks", 100, settings=(*DEFAULTS, ("ANSIBLE_FORKS", "100"))),
    Case("one sshd, shared login, Ansible's defaults", 1, shared_login=True, settings=DEFAULTS),
    Case("one sshd without MaxStartups, shared login, Ansible's defaults", 1, WIDE, shared_login=True,
         settings=DEFAULTS),
    Case("one sshd, login per name, Ansible's defaults", 1, settings=DEFAULTS),
    Case("jump host, Ansible's defaults", 100, jump=True, settings=DEFAULTS),
    Case("sudo silent for 13 s, Ansible's defaults", 100, sudo_seconds=13, settings=DEFAULTS),
    Case("own sshd each, our settings", 100),
    Case("sudo silent for 13 s, our settings", 100, sudo_seconds=13),
    Case("one sshd, our settings", 1),
    Case("jump host, our settings", 100, jump=True),
)


@contextlib.contextmanager
def servers(directory: Path, case: Case) -> Iterator[tuple[list[Sshd], Sshd | None]]:
    """Run the case's sshds, whose sessions find the stand-in first."""
    (directory / "python3").write_text(ANSWER.format(python=os.path.realpath(sys.executable)))
    (directory / "python3").chmod(0o755)
    (directory / "sudo").write_text(SUDO.format(seconds=case.sudo_seconds))
    (directory / "sudo").chmod(0o755)
    force = f'ForceCommand PATH={directory}:/usr/bin:/bin exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"'
    with contextlib.ExitStack() as stack:
        hosts = [stack.enter_context(run_sshd(directory / f"sshd{i}", force, *case.options))
                 for i in range(case.sshds)]
        yield hosts, stack.enter_context(run_sshd(directory / "jump")) if case.jump else None


def inventory(directory: Path, case: Case, hosts: list[Sshd], jump: Sshd | None) -> dict[str, Any]:
    """Return Ansible's inventory of 100 names, made by the product's own code."""
    every = [*hosts, *([jump] if jump else [])]
    known = directory / "known_hosts"
    known.write_text("".join(h.known_hosts for h in every))
    key = directory / "key"
    key.write_bytes(hosts[0].key.read_bytes())
    key.chmod(0o600)
    for host in every:
        (host.directory / "authorized").write_text(hosts[0].key.with_suffix(".pub").read_text())
    targets = {}
    for number in range(100):
        name = f"h{number:03d}"
        targets[name] = Target(name, "127.0.0.1", hosts[number % len(hosts)].port, os.environ.get("USER", "root"),
                               "none", key, known, Hop("root", "127.0.0.1", jump.port) if jump else None)
    made = ansible_inventory(targets)
    for values in made["all"]["hosts"].values() if case.sudo_seconds else ():
        # root to root would skip sudo
        values |= {"ansible_become": True, "ansible_become_user": "0", "ansible_become_exe": str(directory / "sudo")}
    if case.shared_login:
        for values in made["all"]["hosts"].values():
            del values["ansible_control_path"]
    return made


def play(directory: Path, case: Case) -> dict[str, Any]:
    """Run the playbook once and return the sample."""
    bundles = directory / "bundles"
    bundles.mkdir()
    for number in range(100):
        (bundles / f"h{number:03d}.json").write_text(json.dumps({"step": "bench", "changes": ["x" * PAYLOAD]}))
    control = Path(tempfile.mkdtemp(prefix="kwb-"))
    env = os.environ | {"ANSIBLE_CONFIG": str(ROOT / "playbooks/ansible.cfg"), "ANSIBLE_HOME": str(directory / "home"),
                        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(control), "ANSIBLE_NOCOLOR": "1",
                        **({"ANSIBLE_FORKS": str(JUMP_FORKS)} if case.jump and not case.settings else {}),
                        **dict(case.settings)}
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(directory / "hosts.yaml"),
               str(ROOT / "playbooks/apply.yml"), "-e", f"bundles={bundles}"]
    start = time.monotonic()
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600, check=False)
    seconds = time.monotonic() - start
    for socket in control.iterdir():
        subprocess.run(["ssh", "-F", "none", "-O", "exit", "-o", f"ControlPath={socket}", "x"],
                       capture_output=True, timeout=10, check=False)
    shutil.rmtree(control, ignore_errors=True)      # a master may still be taking its socket away
    rows = [tuple(map(int, m)) for m in RECAP.findall(done.stdout)]
    failures = re.findall(r"^fatal: .*$", done.stdout, re.MULTILINE)
    reasons = collections.Counter(
        next((why for why, pattern in REASONS.items() if re.search(pattern, f)), f[:200]) for f in failures)
    return {"seconds": round(seconds, 2), "ok": sum(1 for r in rows if r[0] and not r[1] and not r[2]),
            "unreachable": sum(r[1] for r in rows), "failed": sum(r[2] for r in rows), "reasons": dict(reasons)}


def sample(case: Case) -> dict[str, Any]:
    """Set the case up, play it, take it down."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        with servers(directory, case) as (hosts, jump):
            (directory / "hosts.yaml").write_text(inventory_text(inventory(directory, case, hosts, jump)))
            load = os.getloadavg()[0]
            return {"load_before": round(load, 1), **play(directory, case)}


def main() -> None:
    """Run every case, print a line a sample, write all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", default="", help="part of a case's name")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True,
                            timeout=10, check=True).stdout.strip()
    kept = json.loads(options.out.read_text())["cases"] if options.only and options.out.exists() else []
    cases = {c["name"]: c for c in kept}
    for case in (c for c in CASES if options.only in c.name):
        samples = []
        for _ in range(options.repeat):
            samples.append(sample(case))
            print(f"{case.name:62} {samples[-1]}", flush=True)
        cases[case.name] = {**asdict(case), "commit": commit, "nproc": os.cpu_count(), "samples": samples}
    record = {"benchmark": Path(__file__).stem, "depends_on": list(DEPENDS_ON[RESULTS.name]),
              "cases": [cases[c.name] for c in CASES if c.name in cases]}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
