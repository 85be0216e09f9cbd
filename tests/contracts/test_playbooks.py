"""Playbooks stay thin: they carry and install, and decide nothing."""

from __future__ import annotations

import configparser
import hashlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.artifacts import debs
from provisioner.converge.bundle import prepare_vars, write_prepare
from provisioner.converge.hosts import ansible_vars
from provisioner.model.desired import KernelModule, Package, SwapOff, Sysctl, User
from provisioner.model.inventory import Inventory
from provisioner.model.plan import Change
from provisioner.transport.target import targets_of

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))
PACKAGES = sorted((ROOT / "playbooks/tasks").glob("*.yml"))      # included by prepare.yml, one for each package manager
PREPARE, APPLY = ROOT / "playbooks/prepare.yml", ROOT / "playbooks/apply.yml"
ANSIBLE = Path(sys.executable).with_name("ansible-playbook")
FORBIDDEN_MODULES = {"shell", "raw", "script", "set_fact", "template"}
FORBIDDEN_WORDS = ("ignore_errors", "default(", "hostvars", "ignore_unreachable")
NOT_MODULES = {"name", "when", "loop", "register", "until", "retries", "delay", "changed_when", "block", "environment",
               "failed_when", "vars", "become", "tags", "rescue", "always", "no_log"}


def tasks(entries: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for entry in entries:
        inner = [entry[k] for k in ("pre_tasks", "tasks", "post_tasks", "handlers", "block", "rescue", "always")
                 if k in entry]
        if not inner:
            yield entry
        for part in inner:
            yield from tasks(part)


def all_tasks() -> list[dict[str, Any]]:
    return [task for book in [*PLAYBOOKS, *PACKAGES] for task in tasks(yaml.safe_load(book.read_text()))]


def test_all_playbooks_together_stay_within_forty_tasks_and_five_conditions() -> None:
    assert 0 < len(all_tasks()) <= 40
    conditions = sum(len(re.findall(r"^\s*(?:- )?when:", book.read_text(), re.MULTILINE))
                     for book in [*PLAYBOOKS, *PACKAGES])
    assert conditions <= 5


def test_no_task_uses_a_module_that_would_hide_a_decision() -> None:
    modules = {key.rpartition(".")[2] for task in all_tasks() for key in task.keys() - NOT_MODULES}
    assert modules and not modules & FORBIDDEN_MODULES


@pytest.mark.parametrize("book", [*PLAYBOOKS, *PACKAGES], ids=lambda b: b.name)
def test_no_playbook_contains_a_forbidden_word(book: Path) -> None:
    assert [word for word in FORBIDDEN_WORDS if word in book.read_text()] == []


def test_every_module_is_ansibles_own_or_ours() -> None:
    ours = {f.stem for f in (ROOT / "playbooks" / "action_plugins").glob("*.py")}
    for task in all_tasks():
        for key in task.keys() - NOT_MODULES:
            assert key.startswith("ansible.builtin.") or key in ours, key


def test_every_play_and_task_has_a_name_and_no_play_gathers_facts() -> None:
    plays = [play for book in PLAYBOOKS for play in yaml.safe_load(book.read_text())]
    assert all(entry.get("name") for entry in [*plays, *all_tasks()])
    assert {play["gather_facts"] for play in plays} == {False}


def test_ansible_checks_host_keys_and_keeps_no_retry_files() -> None:
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "playbooks" / "ansible.cfg")
    assert config["defaults"]["host_key_checking"] == "True"
    assert config["defaults"]["retry_files_enabled"] == "False"
    assert config["defaults"]["gathering"] == "explicit"
    assert config["ssh_connection"]["pipelining"] == "True"
    args = config["ssh_connection"]["ssh_args"]
    assert "StrictHostKeyChecking=yes" in args and "-F none" in args and "ForwardAgent=no" in args
    assert int(config["ssh_connection"]["retries"]) > 0, "docs/explanation/decisions.md says why"


def play(books: list[Path], directory: Path, bundles: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run playbooks on this machine, over Ansible's local connection; its own start is what takes long."""
    hosts = directory / "hosts.json"
    hosts.write_text(json.dumps({"all": {"hosts": {"here": {
        "ansible_connection": "local", "ansible_python_interpreter": sys.executable}}}}))
    return subprocess.run(
        [str(ANSIBLE), "-i", str(hosts), *map(str, books), "-e", f"bundles={bundles}", *options], timeout=115,
        check=False, capture_output=True, text=True, env={
            "PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(directory), "LC_ALL": "C.UTF-8",
            "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CONFIG": str(ROOT / "playbooks" / "ansible.cfg")})


def told(stdout: str, task: str) -> str:
    """Return what Ansible printed of one task."""
    return re.split(r"\n\n(?=TASK|PLAY)", stdout.partition(f"TASK [{task}] ")[2])[0]


def test_ansible_accepts_the_syntax(tmp_path: Path) -> None:
    done = play(PLAYBOOKS, tmp_path, tmp_path, "--syntax-check")
    assert done.returncode == 0, done.stderr
    assert [book.name for book in PLAYBOOKS if f"playbook: {book}" not in done.stdout] == []
    assert "WARNING" not in done.stderr


def test_every_variable_that_prepare_reads_is_written_by_converge() -> None:
    text = "".join(book.read_text() for book in (PREPARE, *PACKAGES))
    names = "manager|packages|archives|before_packages|users|commands"
    read = set(re.findall(rf"\b({names})\b", text))
    assert read == set(prepare_vars([]))


def test_prepare_with_nothing_to_do_does_nothing_and_apply_skips_a_host_without_a_bundle(tmp_path: Path) -> None:
    write_prepare(tmp_path / "bundles", {"here": []})
    done = play([PREPARE, APPLY], tmp_path, tmp_path / "bundles")
    assert done.returncode == 0, done.stdout + done.stderr
    skipped = [int(n) for n in re.findall(r"ok=0 +changed=0 .* skipped=(\d+)", done.stdout)]
    assert len(skipped) == 2, "it did nothing"
    assert skipped[1] == skipped[0] + 1, "Ansible counts on from one playbook to the next"
    assert "WARNING" not in done.stderr


def test_the_lists_that_are_empty_for_all_hosts_leave_out_every_task_that_works_through_them(tmp_path: Path) -> None:
    item = Sysctl(path="vm.swappiness", value="1", phase="prepare")
    idle = write_prepare(tmp_path / "some", {"here": [], "there": [
        Change("there", "prepare", item.kind, item.path, "add", "missing", "absent", item.want(), item)]})
    everything = write_prepare(tmp_path / "bundles", {"here": []})
    assert set(everything) - set(idle) == {"commands"}
    done = play([PREPARE], tmp_path, tmp_path / "bundles", "--skip-tags", ",".join(everything))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "TASK" not in done.stdout


def prepare_with(directory: Path, *, archive: Path | None = None,
                 **programs: str) -> subprocess.CompletedProcess[str]:
    """Play prepare.yml for one package with stand-ins for dpkg and apt-get, which note how they are called."""
    for name, script in programs.items():
        program = directory / "bin" / name.replace("_", "-")
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\necho \"$0 $*\" >> {directory}/calls\n{script}\n")
        program.chmod(0o755)
    (book,) = yaml.safe_load((ROOT / "playbooks/prepare.yml").read_text())
    book["environment"]["PATH"] = f"{directory / 'bin'}:/usr/bin:/bin"
    (directory / "prepare.yml").write_text(yaml.safe_dump([book]))
    shutil.copytree(ROOT / "playbooks/tasks", directory / "tasks", dirs_exist_ok=True)
    item = Package(path="nope", phase="prepare")
    write_prepare(directory / "bundles", {"here": [
        Change("here", "prepare", item.kind, item.path, "add", "missing", "absent", item.want(), item)]},
        {"here": archive} if archive else {})
    return play([directory / "prepare.yml"], directory, directory / "bundles", "-e", f"brought={directory / 'brought'}")


def apt_calls(directory: Path) -> list[str]:
    return [line for line in (directory / "calls").read_text().splitlines() if "/apt-get " in line]


@pytest.mark.parametrize(("dpkg", "apt", "fixes"), [
    ("exit 0", "exit 0", False),
    ("echo 'dependency problems - leaving unconfigured' >&2; exit 1", 'case "$*" in *download-only*) exit 100;; esac',
     True),
])
def test_what_dpkg_cannot_finish_for_want_of_a_dependency_is_left_to_apt_which_removes_and_upgrades_nothing(
        tmp_path: Path, dpkg: str, apt: str, fixes: bool) -> None:
    done = prepare_with(tmp_path, dpkg=dpkg, apt_get=apt)
    assert done.returncode == 0, done.stdout + done.stderr
    install = apt_calls(tmp_path)[-1]
    assert install.endswith("install nope") and "download-only" not in install
    assert {"--no-remove", "--no-upgrade", "--no-install-recommends", "-y"} <= set(install.split())
    assert ("--fix-broken" in install) is fixes


def test_an_apt_that_fails_is_told_in_its_own_words(tmp_path: Path) -> None:
    words = ("Setting up nope ...", "dpkg: error processing package nope (--configure):", "E: Sub-process dpkg")
    says = "; ".join(f"echo '{line}'" for line in words)
    done = prepare_with(tmp_path, dpkg="exit 0",
                        apt_get=f'case "$*" in *download-only*|*update*) exit 0;; *) {says}; exit 100;; esac')
    assert done.returncode == 2
    assert f'"msg": "{words[1]}; {words[2]}"' in done.stdout


def plugin() -> Any:
    """Return what stands behind the task `kubewright_run`."""
    spec = importlib.util.spec_from_file_location("run", ROOT / "playbooks/action_plugins/kubewright_run.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("codes", "passes", "ends_with", "ran"), [
    ((0, 0, 0), [], 0, 3),
    ((0, 4, 0), [9], 4, 2),         # what fails is the last, and its exit code is told
    ((9, 0, 3), [9, 3], 0, 3),
    ((9, 0, 0), [], 9, 1),
])
def test_of_several_commands_the_first_that_fails_is_the_last(
        tmp_path: Path, codes: tuple[int, ...], passes: list[int], ends_with: int, ran: int) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho \"$1 $2 $WORD\" >> {tmp_path}/calls; echo \"why $1\" >&2; exit $1\n")
    program.chmod(0o755)
    words = plugin().commands([{"argv": [program, code, "$(never read); 'by' a shell"], "passes": passes}
                               for code in codes], "WORD=here")
    done = subprocess.run(["sh", "-c", words], timeout=20, check=False, capture_output=True, text=True)
    assert done.returncode == ends_with and done.stdout == ""
    assert done.stderr == (f"why {ends_with}\n{program}: exit {ends_with}\n" if ends_with else "")
    assert (tmp_path / "calls").read_text().splitlines() == [
        f"{code} $(never read); 'by' a shell here" for code in codes[:ran]]


@pytest.mark.parametrize("outlives", [True, False])
def test_a_command_that_outlives_its_connection_does_not_die_of_writing_to_it(tmp_path: Path, outlives: bool) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\nread gone; head -c 100000 /dev/zero && : > {tmp_path}/done\n")
    program.chmod(0o755)
    command = plugin().command(["nice", str(program)], outlives=outlives)
    process = subprocess.Popen(["sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    process.stdout.close()
    process.stderr.close()
    process.stdin.close()       # nobody reads any more before it says a word
    process.wait(20)
    assert (tmp_path / "done").exists() is outlives


BROKEN = "echo \"E: The repository 'cdrom://[x] bookworm Release' does not have a Release file.\" >&2; exit 100"


def test_a_broken_source_that_the_packages_do_not_come_from_stops_nothing(tmp_path: Path) -> None:
    done = prepare_with(tmp_path, dpkg="exit 0", apt_get=f'case "$*" in *update*) {BROKEN};; esac')
    assert done.returncode == 0, done.stdout + done.stderr
    updates, fetches, installs = apt_calls(tmp_path)
    assert updates.endswith("update") and fetches.endswith("--download-only install nope")
    assert installs.endswith(" install nope")
    assert all("Acquire::Retries=1" in line and "Acquire::http::Timeout=15" in line for line in apt_calls(tmp_path))


def test_what_packages_say_to_systemd_while_they_are_installed_goes_nowhere(tmp_path: Path) -> None:
    """Else a HAProxy without our settings starts, and systemd reads all its units anew for each package."""
    done = prepare_with(tmp_path, dpkg="exit 0", apt_get='test "${SYSTEMD_OFFLINE:-no}" = '
                        '"$(case "$*" in *download-only*|*update*) echo no;; *) echo 1;; esac)"')
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(apt_calls(tmp_path)) == 3


def test_packages_that_cannot_be_had_are_told_with_the_source_that_failed(tmp_path: Path) -> None:
    missing = "echo 'E: Unable to locate package nope' >&2; exit 100"
    done = prepare_with(tmp_path, dpkg="exit 0", apt_get=f'case "$*" in *update*) {BROKEN};; *) {missing};; esac')
    assert done.returncode == 2
    assert "E: Unable to locate package nope (E: The repository 'cdrom://[x]" in done.stdout
    alone = prepare_with(tmp_path, dpkg="exit 0", apt_get=f'case "$*" in *update*) exit 0;; *) {missing};; esac')
    assert alone.returncode == 2 and "E: Unable to locate package nope" in told(alone.stdout, "Fetch the packages")


def test_in_check_mode_prepare_and_apply_show_what_they_would_do_and_change_nothing(tmp_path: Path) -> None:
    items = [User(path="kubewright-nobody", phase="prepare"), Sysctl(path="vm.swappiness", value="1", phase="prepare"),
             KernelModule(path="nope", phase="prepare"), SwapOff(path="swap", phase="prepare"),
             Package(path="nope", phase="prepare")]
    kept = [i for i in items if i.kind != "package"]      # asks the machine even in check mode
    changes = [Change("here", "prepare", i.kind, i.path, "add", "missing", "absent", i.want() or "", i) for i in kept]
    write_prepare(tmp_path / "bundles", {"here": changes})
    target = tmp_path / "file"
    target.write_text("old line\n")
    owner = f"{target.owner()}:{target.group()}"
    digest = hashlib.sha256(b"old line\n").hexdigest()
    change = {"kind": "file", "path": str(target), "action": "change", "content": "bmV3IGxpbmUK", "mode": "0644",
              "owner": target.owner(), "group": target.group(), "want": "",
              "expect": f"file sha256:{digest} {target.stat().st_mode & 0o777:04o} {owner}"}
    change["want"] = change["expect"].replace(digest, hashlib.sha256(b"new line\n").hexdigest())
    (tmp_path / "bundles/here.json").write_text(json.dumps({"step": "check-1", "changes": [change]}))
    done = play([PREPARE, APPLY], tmp_path, tmp_path / "bundles", "--check", "--diff")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed=0" in done.stdout
    shown = told(done.stdout, "Apply the bundle")
    assert "-old line" in shown and "+new line" in shown and "changed: [here]" in shown, shown
    assert target.read_text() == "old line\n"


@pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh")
def test_the_engine_and_ansible_by_hand_log_in_alike() -> None:
    """The same host variables from the inventory plugin and from converge, so that both reach the same machines."""
    inventory = Inventory.open(ROOT / "inventories" / "lab")
    done = subprocess.run(
        [str(ANSIBLE.with_name("ansible-inventory")), "-i", str(inventory.file), "--list"], capture_output=True,
        text=True, timeout=60, check=True, env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent",
                                                "ANSIBLE_CONFIG": str(ROOT / "playbooks/ansible.cfg")})
    by_hand = json.loads(done.stdout)["_meta"]["hostvars"]
    for name, target in targets_of(inventory).items():
        ours = ansible_vars(target)
        plugin = {k: v["__ansible_unsafe"] if isinstance(v, dict) else v for k, v in by_hand[name].items()}
        arguments = "ansible_ssh_common_args"
        for key in ours.keys() - {"ansible_control_path", arguments}:
            assert plugin[key] == ours[key], (name, key)
        assert sorted(plugin[arguments].split()) == sorted(ours[arguments].split())


def test_packages_of_a_bundle_lie_where_its_sources_list_says() -> None:
    assert f"brought: {debs.PLACE}\n" in PREPARE.read_text()


def test_packages_of_a_bundle_are_installed_from_it_alone_and_nothing_of_it_stays(tmp_path: Path) -> None:
    (tmp_path / "nope.deb").write_text("a package")
    with tarfile.open(tmp_path / "packages.tar", "w") as packed:
        packed.add(tmp_path / "nope.deb", "nope.deb")
    brought = tmp_path / "brought"
    done = prepare_with(tmp_path, dpkg="exit 0", archive=tmp_path / "packages.tar",
                        apt_get=f"test -d {brought}/lists/partial && test -f {brought}/nope.deb || exit 100")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split()[-1] for line in apt_calls(tmp_path)] == ["update", "nope", "nope"]
    for line in apt_calls(tmp_path):
        assert f"-o Dir::Etc::sourcelist={brought}/sources.list -o Dir::Etc::sourceparts=/dev/null" in line
        assert f"-o Dir::State::lists={brought}/lists" in line
    assert not brought.exists()
