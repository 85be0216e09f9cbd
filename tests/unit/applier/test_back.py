"""Going back: what a step changed is put there again from what the host kept, by a step like any other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from provisioner.applier import apply, back, generations, owned, probe, states
from provisioner.applier.host import Fault
from tests.unit.applier.support import ME, US, FakeHost, b64, certificate_change, file_change, fresh, pair, unit_change
from tests.unit.applier.test_kill import step_that_dies

CONF, SECRET, FRESH, LINK, PAIR = "/etc/x.conf", "/etc/x.key", "/etc/fresh", "/usr/local/bin/x", "/pki/x.crt"
INPUTS = [CONF, LINK]
KEY = "ab" * 16


def perform(box: FakeHost, step: str, *changes: dict[str, Any]) -> list[dict[str, Any]]:
    bundle = [back.resolved(box.host, c) for c in changes]
    run = apply.Run(box.host, step, bundle)
    owned.note(box.host, step, bundle)      # as every step begins
    run.perform()
    assert run.status == "done", run.results
    return run.results


def kept(box: FakeHost, steps: str = "") -> dict[str, dict[str, Any]]:
    return {row["path"]: row for row in back.kept(box.host, {"steps": steps})["kept"]}


def restores(box: FakeHost, steps: str) -> list[dict[str, Any]]:
    """Return what goes back from a run's steps: all their files, then the unit that reads them."""
    files = [{"kind": row["kind"], "path": row["path"], "action": "restore", "expect": row["now"], "want": row["was"]}
             for row in kept(box, steps).values()]
    return [*files, {"kind": "unit", "path": "x.service", "action": "restart", "listed": True}]


@pytest.fixture(scope="module")
def pairs() -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
    return pair("old"), pair("new")


@pytest.fixture
def changed(box: FakeHost, pairs: tuple[Any, Any]) -> FakeHost:
    """A host on which step run1.a changed everything that can be put back, and restarted the unit that reads it."""
    return change_all(box, pairs)


def change_all(box: FakeHost, pairs: tuple[Any, Any]) -> FakeHost:
    (old, old_key), new = pairs
    box.put(CONF, "old\n", 0o640)
    box.put(SECRET, "old secret", 0o600)
    box.put(PAIR, old)
    box.put("/pki/x.key", old_key, 0o600)
    for version in ("1", "2"):
        box.put(f"/opt/{version}", version)
    box.path("/usr/local/bin").mkdir(parents=True)
    box.path(LINK).symlink_to("/opt/1")
    box.put("/etc/kubewright/inputs/x.service", "".join(f"{i}\n" for i in INPUTS))
    box.set_units(x={"ActiveState": "active", "UnitFileState": "enabled"})
    box.stamp("x.service")
    look = states.Look(box.host)
    secret = {"kind": "file", "path": SECRET, "hmac_key": KEY}
    wanted = states.words(states.digest_of(b"new secret", KEY), 0o600, f"{ME}:{US}")
    pki = look.see({"kind": "certificate", "path": PAIR, "key_path": "/pki/x.key"})[0]
    perform(
        box, "run1.a",
        file_change(CONF, "new\n", expect=look.see({"kind": "file", "path": CONF})[0]),
        {**secret, "action": "change", "content": b64("new secret"), "mode": 0o600, "owner": ME, "group": US,
         "expect": look.see(secret)[0], "want": wanted},
        file_change(FRESH, "fresh"),
        {"kind": "symlink", "path": LINK, "action": "change", "target": "/opt/2", "expect": "link /opt/1",
         "want": "link /opt/2"},
        certificate_change(PAIR, "/pki/x.key", *new, expect=pki),  # type: ignore[misc]
        unit_change("x.service", INPUTS))
    return box


def assert_is_old(box: FakeHost, pairs: tuple[Any, Any]) -> None:
    assert (box.path(CONF).read_text(), box.path(CONF).stat().st_mode & 0o777) == ("old\n", 0o640)
    assert (box.path(SECRET).read_text(), box.path(SECRET).stat().st_mode & 0o777) == ("old secret", 0o600)
    assert not box.path(FRESH).exists()
    assert str(box.path(LINK).readlink()) == "/opt/1"
    assert (box.path(PAIR).read_bytes(), box.path("/pki/x.key").read_bytes()) == pairs[0]
    assert box.path("/pki/x.key").stat().st_mode & 0o777 == 0o600
    unit = {"kind": "unit", "path": "x.service", "inputs": INPUTS}
    assert states.Look(box.host, [unit]).see(unit)[0] == "active enabled current"
    assert [path for path in box.leftovers() if "/kubewright/steps/" not in path] == []


def test_everything_that_a_step_changed_goes_back_and_its_unit_restarts_once(changed: FakeHost, pairs: Any) -> None:
    results = perform(changed, "run1.undo", *restores(changed, "run1.a"))
    assert [r["result"] for r in results] == ["done"] * 6
    assert_is_old(changed, pairs)
    assert [c for c in changed.calls() if c.startswith("restart")] == ["restart x.service"] * 2


def test_going_back_from_the_way_back_makes_it_new_again(changed: FakeHost) -> None:
    perform(changed, "run1.undo", *restores(changed, "run1.a"))
    assert kept(changed, "run1.a") == {}, "the last step that changed them is the undo"
    perform(changed, "run2.redo", *restores(changed, "run1.undo"))
    assert (changed.path(CONF).read_text(), changed.path(FRESH).read_text()) == ("new\n", "fresh")
    assert changed.path(SECRET).read_text() == "new secret"


def test_a_second_undo_of_the_same_step_finds_nothing_to_do(changed: FakeHost, pairs: Any) -> None:
    bundle = restores(changed, "run1.a")
    perform(changed, "run1.undo", *bundle)
    assert {r["result"] for r in perform(changed, "run1.undo2", *bundle)} == {"skipped"}
    assert_is_old(changed, pairs)


def test_what_is_kept_is_told_with_texts_and_never_with_a_secret_s_bytes_or_plain_digest(changed: FakeHost) -> None:
    rows = kept(changed)
    assert set(rows) == {CONF, SECRET, FRESH, LINK, PAIR}
    assert (rows[CONF]["was_text"], rows[CONF]["now_text"]) == ("old\n", "new\n")
    assert (rows[FRESH]["was"], rows[LINK]["was"]) == ("absent", "link /opt/1")
    assert rows[SECRET]["was"].startswith("file hmac:") and "was_text" not in rows[SECRET]
    assert not any(word in json.dumps(rows) for word in ("old secret", "new secret", KEY))
    assert kept(changed, "run2.") == {}


def test_what_is_no_text_is_told_without_one(box: FakeHost) -> None:
    box.put(CONF, b"\xff\xfe")
    perform(box, "s", file_change(CONF, "x", expect=states.Look(box.host).see({"kind": "file", "path": CONF})[0]))
    assert (kept(box)[CONF]["was_text"], kept(box)[CONF]["now_text"]) == (None, "x")


def test_a_host_that_was_never_changed_keeps_nothing_and_gets_nothing(box: FakeHost) -> None:
    assert box.call("kept", {}) == {"kept": []}
    assert list(box.root.iterdir()) == []


def test_a_file_edited_since_is_stale_and_nothing_goes_back(changed: FakeHost) -> None:
    bundle = restores(changed, "run1.a")
    changed.put(CONF, "by hand\n")
    run = apply.Run(changed.host, "undo", [back.resolved(changed.host, c) for c in bundle])
    run.perform()
    assert run.status == "stale"
    assert changed.path(FRESH).exists()


def test_what_is_not_kept_is_refused_before_anything_is_done(changed: FakeHost) -> None:
    change = {"kind": "file", "path": CONF, "action": "restore", "expect": kept(changed)[CONF]["now"],
              "want": "file sha256:0000 0644 root:root"}
    assert "nothing is kept here that is" in changed.call("apply", {"step": "u", "changes": [change]}, status=1)


def test_a_link_to_a_binary_that_is_gone_is_refused(changed: FakeHost) -> None:
    changed.path("/opt/1").unlink()
    link = next(c for c in restores(changed, "run1.a") if c["path"] == LINK)
    with pytest.raises(Fault, match="/opt/1, which it pointed to, is not there any more"):
        back.resolved(changed.host, link)


def test_the_older_of_two_generations_keeps_its_bytes_while_the_newer_one_is_written(changed: FakeHost) -> None:
    perform(changed, "run1.undo", *restores(changed, "run1.a"))
    again = kept(changed)[CONF]
    found = generations.find(changed.host, CONF, again["now"])
    assert found and found["blobs"][""] == b"old\n"


def test_the_step_that_replaces_bytes_which_are_kept_already_gets_its_name_on_them(box: FakeHost) -> None:
    box.put(CONF, "old")
    old = states.Look(box.host).see({"kind": "file", "path": CONF})[0]
    generations.save(box.host, "killed", {"kind": "file", "path": CONF}, old)
    perform(box, "next", file_change(CONF, "new", expect=old))
    assert {row["step"] for row in kept(box).values()} == {"next"}


def test_a_pair_that_a_killed_step_left_half_made_is_not_what_was_there_before(
        box: FakeHost, pairs: tuple[Any, Any]) -> None:
    (old, old_key), (new, new_key) = pairs
    box.put(PAIR, old)
    box.put("/pki/x.key", old_key, 0o600)
    spec = {"kind": "certificate", "path": PAIR, "key_path": "/pki/x.key"}
    before = states.Look(box.host).see(spec)[0]
    generations.save(box.host, "run1.a", spec, before)      # dies between the two renames
    box.put("/pki/x.key", new_key, 0o600)
    perform(box, "run1.a", certificate_change(PAIR, "/pki/x.key", new, new_key, expect=before))
    assert kept(box)[PAIR]["was"] == before and " key-ok " in before
    row = kept(box)[PAIR]
    perform(box, "run1.a.back", {"kind": "certificate", "path": PAIR, "action": "restore", "expect": row["now"],
                                 "want": row["was"]})
    assert (box.path(PAIR).read_bytes(), box.path("/pki/x.key").read_bytes()) == pairs[0]


def test_as_a_step_of_its_own_it_survives_its_caller_and_writes_its_result(changed: FakeHost, pairs: Any) -> None:
    answer = changed.send("apply", {"step": "run1.undo", "timeout": 30, "changes": restores(changed, "run1.a")})
    assert answer["status"] == "done"
    assert_is_old(changed, pairs)
    assert changed.path("/var/lib/kubewright/steps/run1.undo/result.json").exists()


@pytest.mark.parametrize("stride", [pytest.param(1, marks=[pytest.mark.full, pytest.mark.timeout(600)]), 11])
def test_a_killed_undo_leaves_nothing_half_and_the_same_step_again_ends_it(
        box: FakeHost, tmp_path: Path, pairs: Any, stride: int) -> None:
    died = 0
    for at in range(0, 1000, stride):
        scene = change_all(fresh(tmp_path, at), pairs)
        bundle = restores(scene, "run1.a")
        killed = step_that_dies(scene, bundle, at)
        died += killed
        assert scene.path(CONF).read_text() in ("old\n", "new\n")
        if killed:
            perform(scene, "s", *bundle)
        assert_is_old(scene, pairs)
        assert len([c for c in scene.calls() if c.startswith("restart")]) == 2, at
        if not killed:
            break
    assert died >= 4


def test_a_gate_counts_the_inputs_that_the_host_s_own_list_names(changed: FakeHost) -> None:
    one = {"name": "x", "kind": "unit", "unit": "x.service", "current": True}

    def ok(**more: Any) -> bool:
        return bool(probe.probe(changed.host, {"probes": [{**one, **more}], "deadline": 0})["ok"])

    assert ok(listed=True) and ok(inputs=INPUTS)
    assert not ok(inputs=[*INPUTS, FRESH])
    changed.put(CONF, "by hand")
    assert not ok(listed=True)
