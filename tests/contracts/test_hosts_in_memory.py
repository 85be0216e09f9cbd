"""Hosts in memory answer as the real applier does: both get the same bundles, and are looked at in the same way."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from provisioner.applier import back, fence, files, states, steps
from provisioner.converge.bundle import change_request
from provisioner.model.desired import Certificate, Directory, File, Item, Symlink, Unit
from provisioner.model.observed import ABSENT
from provisioner.model.plan import Change
from provisioner.model.secret import SecretRef
from tests.fakes.host import FakeHost as InMemory
from tests.fakes.hosts import FakeHosts
from tests.unit.applier.conftest import box  # noqa: F401 - a fixture
from tests.unit.applier.support import ME, US, FakeHost, pair
from tests.unit.compile.compile_fixture import facts, lock

CONF, KEY, LINK, UNIT = "/etc/x/x.conf", "/etc/x/key", "/usr/local/bin/x", "x.service"
PAIR, PAIR_KEY = "/etc/x/pki/x.crt", "/etc/x/pki/x.key"
UNIT_FILE, LIST = f"/etc/systemd/system/{UNIT}", f"/etc/kubewright/inputs/{UNIT}"
INPUTS = (UNIT_FILE, CONF, KEY, LINK, PAIR, PAIR_KEY)
HMAC_KEY = "ab" * 32
OWNED: dict[str, Any] = {"owner": ME, "group": US}


def secret_of(data: bytes) -> SecretRef:
    def keyed(what: bytes) -> str:
        return hmac.new(bytes.fromhex(HMAC_KEY), what, "sha256").hexdigest()

    return SecretRef(data.decode(), HMAC_KEY, keyed(data), keyed(hashlib.sha256(data).hexdigest().encode()))


def wished(conf: str = "one\n", word: str = "s1", target: str = "/opt/1") -> list[Item]:
    """Return the items of a component, in the order in which they are applied."""
    return [
        Directory(path="/etc/x", phase="runtime", mode=0o750, **OWNED),
        File(path=UNIT_FILE, phase="runtime", content="[Service]\n", **OWNED),
        File(path=LIST, phase="runtime", content="".join(f"{path}\n" for path in INPUTS), **OWNED),
        File(path=CONF, phase="runtime", content=conf, **OWNED),
        File(path=KEY, phase="runtime", secret=secret_of(word.encode()), mode=0o600, **OWNED),
        Symlink(path=LINK, phase="runtime", target=target),
        Certificate(path=PAIR, phase="runtime", key_path=PAIR_KEY, ca="cluster", common_name="x", **OWNED),
        Unit(path=UNIT, phase="runtime", inputs=INPUTS),
    ]


@dataclass
class Both:
    """A real host below a temporary directory, and one in memory, which are handed the same."""

    real: FakeHost
    fakes: FakeHosts
    pairs: dict[str, tuple[bytes, bytes]]
    number: int = 0

    @property
    def fake(self) -> InMemory:
        return self.fakes.hosts["cp1"]

    def state(self, item: Item) -> str:
        """Return what both say of an item."""
        look = states.Look(self.real.host, [item.spec(), *(one.spec() for one in wished())])
        state, extra = look.see(item.spec())
        said = self.fakes.on("cp1").observe([item]).items[item.kind, item.path]
        assert said.state == state, f"{item.kind} {item.path}: in memory {said.state!r}, in earnest {state!r}"
        for name in ("text", "pem", "causes", "started"):
            assert said.extra.get(name) == extra.get(name) or not (said.extra.get(name) or extra.get(name)), (
                f"{item.path}: {name}: in memory {said.extra.get(name)!r}, in earnest {extra.get(name)!r}")
        return state

    def changes(self, items: Sequence[Item], **more: Any) -> list[dict[str, Any]]:
        """Return changes that make the items, from what is there now."""
        return [self.change(item, **more) for item in items]

    def change(self, item: Item, action: str = "", **more: Any) -> dict[str, Any]:
        state, want = self.state(item), item.want() or ""
        action = action or ("restart" if isinstance(item, Unit) else "add" if state == ABSENT else "change")
        made = Change("cp1", item.phase, item.kind, item.path, action, "", state,
                      ABSENT if action == "remove" else want, None if action == "remove" else item)
        request = change_request(made, str.encode, lambda wanted: self.pairs[wanted.common_name])
        return {**(item.spec() if action == "remove" else {}), **request, **more}

    def apply(self, bundle: Sequence[dict[str, Any]], epoch: int | None = None) -> tuple[str, list[str]]:
        """Hand the same bundle to both; return what both answer: the status, and each change's result."""
        self.number += 1
        step = f"run1.{self.number}"
        request = {"step": step, "changes": list(bundle), "timeout": 5, "epoch": epoch, "origin": {}}
        place = files.private_directory(steps.directory(self.real.host, step))
        files.write_json(f"{place}/request.json", request)
        steps.run(self.real.host, step)
        result = steps.result_of(self.real.host, step)
        assert result is not None
        answer = (str(result["status"]), [str(row["result"]) for row in result["changes"]])
        told = self.fakes._apply("cp1", request)
        assert (told.status, [row["result"] for row in told.changes]) == answer, result
        assert self.kept() == sorted(
            (row["kind"], row["path"], row["step"], row["was"], row["now"])
             for row in back.kept(self.real.host, {"steps": "run1."})["kept"])
        return answer

    def kept(self) -> list[tuple[str, str, str, str, str]]:
        return sorted((k.kind, k.path, k.step, k.was, k.now) for k in self.fakes.on("cp1").kept("run1."))

    def edit(self, text: str) -> None:
        """Let somebody edit the configuration by hand."""
        self.real.put(CONF, text)
        file = File(path=CONF, phase="runtime", content=text, **OWNED)
        self.fake.edit(CONF, file.want(), text)

    def settle(self, items: Sequence[Item]) -> None:
        assert [item.path for item in items if item.want() is not None and self.state(item) != item.want()] == []


@pytest.fixture
def both(box: FakeHost) -> Both:  # noqa: F811
    fakes = FakeHosts({"cp1": InMemory("cp1", facts("cp1", "10.77.0.11"))}, lock())
    for version in ("1", "2"):
        box.put(f"/opt/{version}", version)
    return Both(box, fakes, {"x": pair("x"), "y": pair("y")})


@pytest.fixture
def made(both: Both) -> Both:
    """Both, with all items of a component made, and its unit running."""
    assert both.apply(both.changes(wished())) == ("done", ["done"] * 8)
    return both


def test_what_is_made_is_there_and_a_second_time_all_is_skipped(made: Both) -> None:
    made.settle(wished())
    bundle = made.changes(wished())
    assert made.apply(bundle) == ("done", ["skipped"] * 8)


@pytest.mark.parametrize(("change", "paths"), [
    ({"conf": "two\n"}, [CONF]), ({"word": "s2"}, [KEY]), ({"target": "/opt/2"}, [LINK]),
    ({"conf": "two\n", "word": "s2"}, [CONF, KEY])])
def test_a_unit_is_due_by_what_it_reads_until_it_is_started_again(
        made: Both, change: dict[str, str], paths: list[str]) -> None:
    items = wished(**change)
    files_only, unit = items[:-1], items[-1]
    status, results = made.apply(made.changes(files_only))
    assert (status, results.count("done")) == ("done", len(paths))
    assert made.state(unit) == "active enabled due"
    assert made.fakes.on("cp1").observe([unit]).extra("unit", UNIT)["causes"] == paths
    assert made.apply(made.changes([unit])) == ("done", ["done"])
    made.settle(items)


def test_one_stale_change_keeps_both_from_making_any(made: Both) -> None:
    bundle = made.changes(wished(conf="two\n", target="/opt/2")[:-1])
    made.edit("by hand\n")
    status, results = made.apply(bundle)
    assert (status, results.count("stale"), "done" in results) == ("stale", 1, False)
    assert made.state(wished()[3]).startswith("file ") and made.state(wished()[5]) == "link /opt/1"


def test_what_is_removed_is_gone_and_removed_no_second_time(made: Both) -> None:
    file, link = wished()[3], wished()[5]
    bundle = [made.change(file, "remove"), made.change(link, "remove")]
    assert made.apply(bundle) == ("done", ["done", "done"])
    assert [made.state(file), made.state(link)] == [ABSENT, ABSENT]
    assert made.apply(bundle) == ("done", ["skipped", "skipped"])


def test_a_step_goes_back_in_both_and_what_it_had_made_is_gone(made: Both) -> None:
    fresh = File(path="/etc/x/fresh", phase="runtime", content="new", **OWNED)
    items = [*wished(conf="two\n", word="s2", target="/opt/2")[:-1], fresh, wished()[-1]]
    made.pairs["x"] = made.pairs["y"]
    made.apply([*made.changes(items[:-1]), made.change(items[-1])])
    rows = [k for k in made.fakes.on("cp1").kept(f"run1.{made.number}")]
    assert {k.path for k in rows} == {CONF, KEY, LINK, PAIR, "/etc/x/fresh"}
    bundle: list[dict[str, Any]] = [
        {"kind": k.kind, "path": k.path, "action": "restore", "expect": k.now, "want": k.was} for k in rows]
    bundle.append({"kind": "unit", "path": UNIT, "action": "restart", "listed": True, "expect": "", "want": ""})
    assert made.apply(bundle) == ("done", ["done"] * 6)
    made.settle(wished())
    assert made.state(fresh) == ABSENT
    assert made.apply(bundle) == ("done", ["skipped"] * 6)


@pytest.mark.parametrize(("acts", "results", "state"), [
    (["stop"], ["done"], "inactive enabled current"),
    (["stop", "stop"], ["done", "skipped"], "inactive enabled current"),
    (["stop", "start"], ["done", "done"], "active enabled current"),
    (["restart"], ["skipped"], "active enabled current"),
    (["reload"], ["skipped"], "active enabled current"),
    (["enable"], ["skipped"], "active enabled current"),
    (["remove", "remove"], ["done", "skipped"], "inactive disabled due"),
    (["remove", "enable"], ["done", "done"], "inactive enabled due"),
    (["remove", "start"], ["done", "done"], "active enabled current"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_a_unit_is_acted_on_alike(made: Both, acts: list[str], results: list[str], state: str) -> None:
    unit = wished()[-1]
    assert made.apply([made.change(unit, act) for act in acts]) == ("done", results)
    assert made.state(unit) == state


def test_a_bundle_of_an_older_run_is_refused_by_both(made: Both) -> None:
    assert fence.fence(made.real.host, {"epoch": 7})["status"] == "done"
    assert made.fakes.on("cp1").fence(7) == 7
    assert made.apply(made.changes(wished(conf="two\n")), epoch=6) == ("fenced", [])
    assert made.apply(made.changes(wished(conf="two\n")), epoch=7)[0] == "done"


def test_a_certificate_that_is_issued_anew_is_another_state_and_its_unit_is_due(made: Both) -> None:
    certificate, unit = wished()[6], wished()[-1]
    before = made.state(certificate)
    assert made.apply([made.change(replace(certificate, common_name="y"))]) == ("done", ["done"])  # type: ignore[call-arg]
    assert made.state(certificate) != before and made.state(unit) == "active enabled due"


def test_the_real_host_is_below_a_directory_of_its_own(made: Both, tmp_path: Path) -> None:
    assert made.real.root.is_relative_to(tmp_path) and not Path(CONF).exists()
