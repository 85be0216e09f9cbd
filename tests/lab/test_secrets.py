"""While and after `up` carries them, the cluster's secrets are in the files meant to hold them, and nowhere else."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path, PurePosixPath

import pytest

from provisioner.compile import pki as table
from provisioner.compile.controllers import MANAGER_SECRETS, SCHEDULER_SECRETS
from provisioner.compile.parts import CREDENTIALS_DIR
from tests.lab.conftest import NODES, Lab
from tests.lab.hostside import at_once, remote
from tests.lab.needles import Needles
from tests.lab.reissue import SECRET_FILES, Reissue
from tests.lab.shown import Processes

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]
# Everything but what OS packages and pinned artifacts bring.
PLACES = ("/etc", "/root", "/home", "/srv", "/tmp", "/var", "/run", "/dev/shm", "/usr/local/etc")
MEANT = {*SECRET_FILES, *(leaf.key_path for leaf in table.TABLE)}
GENERATIONS = PurePosixPath("/var/lib/kubewright/generations")
# Each start of a confined service gives its user alone a copy in memory.
CREDENTIALS = PurePosixPath(CREDENTIALS_DIR)
COPIES = {str(CREDENTIALS / unit / PurePosixPath(path).name)
          for unit, paths in (
              (table.ETCD_UNIT, table.credentials(table.ETCD_UNIT)),
              (table.APISERVER_UNIT, (*table.credentials(table.APISERVER_UNIT), *SECRET_FILES)),
              (table.MANAGER_UNIT, MANAGER_SECRETS), (table.SCHEDULER_UNIT, SCHEDULER_SECRETS)) for path in paths}
# Prints the files that hold one of the fragments on stdin, each with its mode and that of its directory.
SEARCH = ('LC_ALL=C grep -rlFaZ -D skip -f - -- "$@" 2>/dev/null | '
          'while IFS= read -r -d "" f; do stat -c "%a %u %n" "$f"; stat -c "%a %u %n" "${f%/*}"; done')


def test_the_search_finds_a_secret_in_the_clear_in_base64_and_in_a_bundle_s_base64_of_it(reissued: Reissue) -> None:
    for path in (table.CA_KEY, table.ADMIN.key_path, table.ENCRYPTION_CONFIG):
        secret = reissued.lab.on("cp1", "cat", path).encode()
        bundle = json.dumps({"content": base64.b64encode(secret).decode()}).encode()
        for data in (secret, b"." + base64.b64encode(secret), bundle, base64.b64encode(bundle)):
            assert reissued.needles.within(b"before " + data + b" behind"), path


def test_no_secret_is_in_what_the_verbs_print(reissued: Reissue, tmp_path: Path) -> None:
    lab = reissued.lab
    shown = dict(reissued.shown)
    reads = (["status"], ["-o", "json", "plan"], ["-v", "certs", "check"])
    done = at_once({" ".join(words): partial(lab.run, *words) for words in reads})
    for words in (["up", "--yes", "--events"], ["check"], ["compile", "--out", str(tmp_path / "out")]):
        done[" ".join(words)] = lab.run(*words)
    shown |= {words: one.stdout + one.stderr for words, one in done.items()}
    printed = {verb: text.encode(errors="surrogateescape") for verb, text in shown.items()}
    assert {verb: found for verb, data in printed.items() if (found := reissued.needles.within(data))} == {}
    assert table.SCHEDULER.path in shown["plan"] and "cp2" in shown["up"], "there was something to print"


def test_no_secret_is_an_argument_or_in_the_environment_of_any_process_here_or_on_a_host(reissued: Reissue) -> None:
    assert reissued.processes.rate >= 20, f"{reissued.processes.rate:.0f} looks a second"
    everything = b"\0".join(reissued.processes.seen)
    for words in (b"ansible-playbook", b"kubewright-step-", b"kube-apiserver\0", b"KUBERNETES_SERVICE_HOST"):
        assert words in everything, f"{words!r}: processes here, steps and services on hosts, and Pods were seen"
    assert reissued.needles.within(everything) == set()
    assert reissued.needles.within(reissued.trace.file.read_bytes()) == set(), "every program started here"


def test_the_watcher_sees_an_argument_and_an_environment() -> None:
    needles = Needles({"argument": b"A" * 30 + b"0123", "environment": b"B" * 30 + b"4567"})
    processes = Processes()
    with processes.watched():
        subprocess.run([sys.executable, "-c", "import time; time.sleep(0.3)", "A" * 30 + "0123"], check=True,
                       env={**os.environ, "WORD": "B" * 30 + "4567"})
    assert needles.within(b"\0".join(processes.seen)) == {"argument", "environment"}


def test_no_secret_is_left_here_but_in_the_operators_own_files(reissued: Reissue) -> None:
    lab = reissued.lab
    temporary = {Path(p).resolve() for p in ("/tmp", "/var/tmp", "/dev/shm", tempfile.gettempdir())}
    files = [Path(d, n) for d, _, names in os.walk(lab.directory) for n in names]
    assert len([f for f in files if "/ansible/" in str(f)]) > 20, "the artifacts of ansible-runner are among them"
    assert [f for f in files if f.name == "events.jsonl"]
    files += [f for place in temporary for f in written_since(place, reissued.began)]
    files += written_since(Path.home(), reissued.began)
    meant = {lab.directory / "kubeconfig", lab.directory / ".kubewright" / "id_ed25519"}
    held = reissued.needles.in_files(files)
    assert held.keys() - meant == set()
    assert lab.directory / ".kubewright" / "id_ed25519" in held, "the search found what is there"
    assert {str(f): mode(f) for f in held if mode(f) & 0o077} == {}
    for private in (lab.directory / ".kubewright", lab.directory / ".kubewright" / "secrets"):
        assert mode(private) == 0o700


def written_since(place: Path, moment: float) -> list[Path]:
    """Return the regular files below a directory, on its own file system, that were written since then."""
    call = ["find", str(place), "-xdev", "-type", "f", "-newermt", f"@{moment}", "-size", "-64M", "-print0"]
    found = subprocess.run(call, capture_output=True, timeout=120, check=False).stdout
    return [Path(os.fsdecode(name)) for name in found.split(b"\0") if name]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_here_files_with_secrets_are_0600_in_0700_from_their_first_moment(reissued: Reissue) -> None:
    kept = reissued.lab.directory / ".kubewright"
    created = reissued.trace.created(kept)
    secret = [c for c in created if not c.directory and {"bundles", "credentials"} & set(Path(c.path).parts)]
    assert all(any(f"/{place}/" in c.path for c in secret) for place in ("bundles", "credentials"))
    assert [c for c in secret if c.mode != 0o600 or not c.exclusive] == []
    runs = [c for c in created if c.directory and "/ansible/" not in c.path]
    assert len(runs) > 3
    assert [c for c in runs if c.mode != 0o700] == []
    assert [line for line in reissued.trace.opened_up(kept) if "/ansible/" not in line] == []


def test_on_hosts_secrets_are_in_the_files_meant_to_hold_them_which_nobody_else_reads(reissued: Reissue) -> None:
    stdin = reissued.needles.patterns
    said = at_once({host: partial(remote, reissued.lab, host, ["bash", "-c", SEARCH, "search", *PLACES], stdin)
                    for host in NODES})
    for host, text in said.items():
        rows = [line.split(maxsplit=2) for line in text.splitlines()]
        files, directories = rows[::2], rows[1::2]
        paths = {path for _, _, path in files}
        strange = {p for p in paths - MEANT - COPIES if GENERATIONS not in PurePosixPath(p).parents}
        assert strange == set(), host
        assert {table.HAPROXY.key_path, table.KUBELET_CLIENT.key_path} <= paths, f"{host}: the search found them"
        assert [row for row in files if int(row[0], 8) & 0o077] == [], host
        copies = [row for row in directories if PurePosixPath(row[2]).parent == CREDENTIALS]
        assert [row for row in copies if row[0] != "500"] == [], host
        rest = [row for row in directories if row not in copies]
        assert [row for row in rest if row[1] != "0" or int(row[0], 8) & 0o022] == [], host
        ours = [row for row in directories if row[2].startswith("/var/lib/kubewright")]
        assert [row for row in ours if row[0] != "700"] == [], host
    assert set(SECRET_FILES) <= {line.split()[2] for line in said["cp1"].splitlines()}


def test_no_secret_is_in_the_journal_of_any_host(reissued: Reissue) -> None:
    journals = at_once({host: partial(remote, reissued.lab, host, ["journalctl", "--no-pager", "-o", "export"])
                        for host in NODES})
    assert all("kubewright-step-" in text for text in journals.values())
    assert {host: found for host, text in journals.items()
            if (found := reissued.needles.within(text.encode(errors="surrogateescape")))} == {}


def test_a_secret_rests_encrypted_in_etcd_and_is_in_no_log(reissued: Reissue) -> None:
    lab, word = reissued.lab, "canary-" + os.urandom(16).hex()
    manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "canary"}, "stringData": {"word": word}}
    lab.kubectl("create", "-f", "-", stdin=json.dumps(manifest))
    try:
        assert base64.b64decode(lab.kubectl("get", "secret", "canary", "-o", "jsonpath={.data.word}")).decode() == word
        value = stored_value(lab, "/registry/secrets/default/canary")
        assert value.startswith(b"k8s:enc:secretbox")
        needles = Needles({"canary": word.encode()})
        assert needles.within(value) == set()
        stdin = needles.patterns
        search = ["bash", "-c", SEARCH, "search", "/var/lib/etcd", "/var/log", "/tmp"]
        said = at_once({host: partial(remote, lab, host, search, stdin) for host in NODES})
        assert {host: text for host, text in said.items() if text} == {}
    finally:
        lab.kubectl("delete", "secret", "canary")


def stored_value(lab: Lab, key: str) -> bytes:
    """Return the bytes that etcd has under a key."""
    pki = "/etc/kubernetes/pki/etcd"
    raw = lab.on("cp1", "etcdctl", "--endpoints=https://127.0.0.1:2379", f"--cacert={pki}/ca.crt",
                 f"--cert={pki}/healthcheck-client.crt", f"--key={pki}/healthcheck-client.key",
                 "get", key, "-w", "json")
    return base64.b64decode(json.loads(raw)["kvs"][0]["value"])
