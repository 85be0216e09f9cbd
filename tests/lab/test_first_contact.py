"""From five addresses to healthy on machines that look foreign, by documented commands alone.

Users whose sudo asks, keys with a passphrase in an agent, a bastion, sshd at a port of its own, keys that nobody has
pinned, FQDNs, and addresses in the cluster apart from those where one logs in.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab import figures
from tests.lab.footprint import differences, footprint
from tests.lab.foreign import (
    BASTION_ADDRESS,
    DOMAIN,
    JUMP_PORT,
    OF_LAB,
    PASSWORD,
    VIP,
    VISITOR,
    Foreign,
    foreign,
    machines,
)
from tests.lab.machines import LAB, NODES, ROOT

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.timeout(1800)]
CASES: list[dict[str, Any]] = yaml.safe_load(
    (ROOT / "tests/cases/first_contact/machines.yaml").read_text(encoding="utf-8"))
GIVEN = f"{PASSWORD}\n"


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Foreign]:
    with foreign(tmp_path_factory.mktemp("home")) as made:
        yield made


@pytest.fixture(scope="module")
def inventory(owner: Foreign) -> Path:
    """The inventory that `init` wrote, with what a lab's nodes need, and every key pinned."""
    owner.timed("init", *machines(), "--vip", VIP, "--jump", f"{VISITOR}@{BASTION_ADDRESS}:{JUMP_PORT}",
                "--operator", "operator.pub", "--kubernetes", LAB.kubernetes)
    file = owner.directory / "cluster.yaml"
    file.write_text(file.read_text(encoding="utf-8") + OF_LAB, encoding="utf-8")
    owner.timed("validate")
    owner.timed("artifacts", "lock", "--source", "go")
    unknown = owner.run("check", "--ask-become", given=GIVEN, check=False)
    assert unknown.returncode == 12 and "the host key is not pinned" in unknown.stderr, unknown.stderr
    assert "kubewright --ask-become trust" in unknown.stderr, unknown.stderr
    shown = owner.timed("trust", "--yes")
    assert "Pinned 6 keys" in shown.stderr + shown.stdout, shown.stdout + shown.stderr
    return file


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_what_is_wrong_is_told_and_nothing_is_changed_anywhere(
        owner: Foreign, inventory: Path, case: dict[str, Any]) -> None:
    text = inventory.read_text(encoding="utf-8")
    hosts = [case[key] for key in ("host", "also") if key in case]
    for host in hosts:
        owner.on(host, case["do"])
    if "text" in case:
        assert case["text"][0] in text
        inventory.write_text(text.replace(*case["text"]), encoding="utf-8")
    try:
        given = GIVEN if case.get("given") == "PASSWORD" else case.get("given", "")
        done = owner.run(*case["words"], given=given, check=False)
    finally:
        inventory.write_text(text, encoding="utf-8")
        for host in hosts:
            owner.on(host, case["undo"])
    said = done.stdout + done.stderr
    assert done.returncode == case["code"], said
    assert [words for words in case["says"] if words not in said] == [], said
    assert "Traceback" not in said and PASSWORD not in said
    assert owner.of_ours() == {}


def test_from_five_addresses_to_healthy_and_back(owner: Foreign, inventory: Path) -> None:
    owner.timed("check", "--ask-become", given=GIVEN)
    before = {host: footprint(owner.lab, host) for host in NODES}      # with sudo's note of who has read its lecture
    owner.timed("up", "--yes", "--ask-become", given=GIVEN, timeout=900)
    figures.record("`up` of five foreign machines, by a bastion and with sudo's password", owner.took[-1:], unit="s")
    figures.record("from five addresses to healthy, six commands", [sum(owner.took)], unit="s")
    assert "No changes." in owner.run("up", "--yes", "--ask-become", given=GIVEN).stderr
    assert "healthy" in owner.run("status", "--ask-become", given=GIVEN).stdout.lower()
    owner.run("kubeconfig", "--ask-become", "--output", "kubeconfig", given=GIVEN)
    assert owner.kubectl("get", "nodes", "-o", "name").split() == [f"node/{host}.{DOMAIN}" for host in NODES]
    assert _with_password(owner) == []
    began = time.monotonic()
    owner.run("reset", "--yes", "--ask-become", given=GIVEN)
    figures.record("`reset` of five foreign machines", [time.monotonic() - began], unit="s")
    found = {host: differences(footprint(owner.lab, host), was) for host, was in before.items()}
    assert not any(found.values()), found


def _with_password(owner: Foreign) -> list[str]:
    """Return where the password stands: in files here, or in logs and processes of the nodes."""
    found = [str(file) for file in owner.home.rglob("*") if file.is_file() and PASSWORD.encode() in file.read_bytes()]
    for host in NODES:
        logs = owner.on(host, "journalctl --no-pager -q; cat /var/log/*.log 2>/dev/null; cat /proc/[0-9]*/cmdline "
                              "/proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'; true")
        found += [host] if PASSWORD in logs else []
    return found
