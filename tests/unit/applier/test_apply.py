from __future__ import annotations

import hashlib
import json

import pytest

from provisioner.applier import changes, files, states
from provisioner.applier.apply import Run
from provisioner.applier.host import Fault
from tests.unit.applier.support import (
    ME,
    US,
    FakeHost,
    b64,
    certificate_change,
    file_change,
    pair,
    state_of,
    unit_change,
)


def perform(box: FakeHost, *bundle: dict) -> Run:
    for change in bundle:
        changes.check(box.host, change)
    run = Run(box.host, "test", bundle)
    run.perform()
    assert not box.leftovers()
    return run


def outcomes(run: Run) -> list[str]:
    return [r["result"] for r in run.results]


def directory_change(path: str, mode: int, expect: str = "absent") -> dict:
    return {"kind": "directory", "path": path, "action": "add", "expect": expect, "mode": mode, "owner": ME,
            "group": US, "want": f"dir {mode:04o} {ME}:{US}"}


def link_change(path: str, target: str, expect: str = "absent") -> dict:
    return {"kind": "symlink", "path": path, "action": "add", "expect": expect, "target": target,
            "want": f"link {target}"}


def generations(box: FakeHost, path: str) -> list[dict]:
    base = box.path("/var/lib/kubewright/generations") / hashlib.sha256(path.encode()).hexdigest()
    return [json.loads(p.read_text()) | {"bytes": (base / p.stem).read_bytes() if (base / p.stem).exists() else None}
            for p in sorted(base.glob("*.json"), key=lambda p: int(p.stem))]


def test_what_was_asked_is_there_afterwards_and_a_second_time_everything_is_skipped(box: FakeHost) -> None:
    bundle = (directory_change("/etc/kw", 0o750), file_change("/etc/kw/conf", "hello", mode=0o640),
              link_change("/usr/local/bin/x", "/opt/kubewright/x/1/x"))
    assert outcomes(perform(box, *bundle)) == ["done"] * 3
    for change in bundle:
        assert states.Look(box.host).see(change)[0] == change["want"]
    before = box.path("/etc/kw/conf").stat()
    assert outcomes(perform(box, *bundle)) == ["skipped"] * 3
    assert box.path("/etc/kw/conf").stat() == before


def test_one_stale_change_keeps_the_whole_bundle_from_being_made(box: FakeHost) -> None:
    box.put("/etc/b", "edited by hand")
    run = perform(box, file_change("/etc/a", "new"), file_change("/etc/b", "new", expect=state_of("old")))
    assert run.status == "stale"
    assert outcomes(run) == ["untouched", "stale"]
    assert not box.path("/etc/a").exists()
    assert box.path("/etc/b").read_text() == "edited by hand"
    assert state_of("edited by hand") in run.results[1]["detail"]


def test_a_change_that_became_stale_at_its_turn_stops_there(box: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    make = changes.make

    def meddle(*arguments: object) -> str:
        box.put("/etc/b", "meanwhile")
        return make(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("provisioner.applier.changes.make", meddle)
    run = perform(box, file_change("/etc/a", "1"), file_change("/etc/b", "1"), file_change("/etc/c", "1"))
    assert run.status == "stale"
    assert outcomes(run) == ["done", "stale", "untouched"]
    assert box.path("/etc/b").read_text() == "meanwhile"


def test_bytes_that_are_not_those_of_the_plan_are_refused(box: FakeHost) -> None:
    change = file_change("/etc/a", "shown") | {"content": b64("other")}
    with pytest.raises(Fault, match="the plan showed"):
        perform(box, change)


@pytest.mark.parametrize("path", ["etc/a", "/etc/../a", "//etc/a", "/etc/a/", "/etc/./a", "/etc/\0a"])
def test_a_path_that_is_not_plain_is_refused(box: FakeHost, path: str) -> None:
    with pytest.raises(Fault, match="plain absolute path"):
        perform(box, file_change("/etc/a", "x") | {"path": path})


@pytest.mark.parametrize("kind", ["package", "user", "sysctl", "module", "swap", "artifact", "nonsense"])
def test_what_others_change_is_refused_before_anything_is_written(box: FakeHost, kind: str) -> None:
    with pytest.raises(Fault, match="cannot 'add'"):
        perform(box, file_change("/etc/a", "x"), {"kind": kind, "path": "/x", "action": "add"})
    assert not box.path("/etc/a").exists()


def test_an_owner_the_host_does_not_have_fails_the_bundle_before_the_first_write(box: FakeHost) -> None:
    change = file_change("/etc/b", "x") | {"owner": "nobody-here", "want": ""}
    run = perform(box, file_change("/etc/a", "x"), change)
    assert run.status == "failed"
    assert outcomes(run) == ["untouched", "failed"]
    assert "nobody-here" in run.results[1]["detail"]
    assert not box.path("/etc/a").exists()


def test_a_failure_stops_the_step_and_names_what_was_not_reached(box: FakeHost) -> None:
    box.put("/etc/dir/file", "x")
    run = perform(box, file_change("/etc/a", "x"), file_change("/etc/dir", "x", expect="other directory"),
                  file_change("/etc/c", "x"))
    assert run.status == "failed"
    assert outcomes(run) == ["done", "failed", "untouched"]


def test_a_symlink_in_the_way_is_replaced_and_what_it_points_at_is_left_alone(box: FakeHost) -> None:
    box.put("/etc/passwd", "precious")
    box.path("/etc/a").symlink_to("passwd")
    assert outcomes(perform(box, file_change("/etc/a", "new", expect="other symlink"))) == ["done"]
    assert box.path("/etc/passwd").read_text() == "precious"
    assert not box.path("/etc/a").is_symlink()


def test_a_symlink_planted_at_the_temporary_name_is_not_written_through(box: FakeHost) -> None:
    box.put("/etc/passwd", "precious")
    box.path("/etc/.a.kubewright-tmp").symlink_to("passwd")
    assert outcomes(perform(box, file_change("/etc/a", "new"))) == ["done"]
    assert box.path("/etc/passwd").read_text() == "precious"


def test_the_two_last_generations_are_kept_with_their_state_and_readable_by_root_only(box: FakeHost) -> None:
    for old, new in (("1", "2"), ("2", "3"), ("3", "4")):
        if old == "1":
            box.put("/etc/a", "1")
        perform(box, file_change("/etc/a", new, expect=state_of(old)))
    kept = generations(box, "/etc/a")
    assert [(k["bytes"], k["state"], k["path"]) for k in kept] == [
        (b"2", state_of("2"), "/etc/a"), (b"3", state_of("3"), "/etc/a")]
    base = box.path("/var/lib/kubewright/generations")
    assert all(p.stat().st_mode & 0o077 == 0 for p in [box.path("/var/lib/kubewright"), base, *base.rglob("*")])


def test_a_generation_is_not_saved_twice_when_a_killed_step_runs_again(box: FakeHost) -> None:
    box.put("/etc/a", "1")
    change = file_change("/etc/a", "2", expect=state_of("1"))
    from provisioner.applier import generations as g
    g.save(box.host, "killed", change, state_of("1"))
    perform(box, change)
    assert len(generations(box, "/etc/a")) == 1


def test_the_old_target_of_a_symlink_is_a_generation(box: FakeHost) -> None:
    perform(box, link_change("/usr/local/bin/x", "/opt/1"))
    perform(box, link_change("/usr/local/bin/x", "/opt/2", expect="link /opt/1"))
    assert [k.get("target", k["state"]) for k in generations(box, "/usr/local/bin/x")] == ["absent", "/opt/1"]


def test_removal_keeps_a_generation_and_is_skipped_when_nothing_is_there(box: FakeHost) -> None:
    box.put("/etc/a", "1")
    change = {"kind": "file", "path": "/etc/a", "action": "remove", "expect": state_of("1"), "want": "absent"}
    assert outcomes(perform(box, change)) == ["done"]
    assert not box.path("/etc/a").exists()
    assert [k["bytes"] for k in generations(box, "/etc/a")] == [b"1"]
    assert outcomes(perform(box, change)) == ["skipped"]


def test_a_directory_is_never_removed_with_what_is_in_it(box: FakeHost) -> None:
    box.put("/etc/dir/precious", "x")
    box.path("/etc/dir").chmod(0o755)
    change = {"kind": "directory", "path": "/etc/dir", "action": "remove", "expect": f"dir 0755 {ME}:{US}",
              "want": "absent"}
    run = perform(box, change)
    assert run.results[0]["detail"] == "kept: in it is precious"
    assert box.path("/etc/dir/precious").exists()


def test_a_new_pair_replaces_the_old_one_and_the_old_key_is_kept_in_private(box: FakeHost) -> None:
    old, new = pair("old"), pair("new")
    box.put("/pki/x.crt", old[0])
    box.put("/pki/x.key", old[1], 0o600)
    spec = {"kind": "certificate", "path": "/pki/x.crt", "key_path": "/pki/x.key"}
    change = certificate_change("/pki/x.crt", "/pki/x.key", *new, expect=states.Look(box.host).see(spec)[0])
    assert outcomes(perform(box, change)) == ["done"]
    assert states.Look(box.host).see(spec)[0].split()[2:] == ["key-ok", "0600", f"{ME}:{US}"]
    assert box.path("/pki/x.key").read_bytes() == new[1]
    base = box.path("/var/lib/kubewright/generations") / hashlib.sha256(b"/pki/x.crt").hexdigest()
    assert ((base / "1").read_bytes(), (base / "1.key").read_bytes()) == old
    assert outcomes(perform(box, change)) == ["skipped"]


def test_a_pair_of_which_a_kill_let_only_the_key_arrive_is_finished_by_the_same_change(box: FakeHost) -> None:
    old, new = pair("old"), pair("new")
    box.put("/pki/x.crt", old[0])
    box.put("/pki/x.key", old[1], 0o600)
    spec = {"kind": "certificate", "path": "/pki/x.crt", "key_path": "/pki/x.key"}
    change = certificate_change("/pki/x.crt", "/pki/x.key", *new, expect=states.Look(box.host).see(spec)[0])
    box.put("/pki/x.key", new[1], 0o600)
    assert "key-mismatch" in states.Look(box.host).see(spec)[0]
    assert outcomes(perform(box, change)) == ["done"]
    assert "key-ok" in states.Look(box.host).see(spec)[0]


def test_a_key_that_is_neither_old_nor_new_is_stale(box: FakeHost) -> None:
    old, stranger = pair("old"), pair("stranger")
    box.put("/pki/x.crt", old[0])
    box.put("/pki/x.key", old[1], 0o600)
    spec = {"kind": "certificate", "path": "/pki/x.crt", "key_path": "/pki/x.key"}
    change = certificate_change("/pki/x.crt", "/pki/x.key", *pair("new"), expect=states.Look(box.host).see(spec)[0])
    box.put("/pki/x.key", stranger[1], 0o600)
    assert perform(box, change).status == "stale"


def test_a_file_is_never_wider_than_its_mode_while_written(box: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    import os
    seen = []
    fchown = os.fchown
    monkeypatch.setattr(os, "fchown", lambda fd, *ids: (seen.append(os.fstat(fd).st_mode & 0o777), fchown(fd, *ids)))
    perform(box, file_change("/etc/secret", "x", mode=0o640))
    assert set(seen) == {0o600}


def started(box: FakeHost) -> list[str]:
    return [c for c in box.calls() if c.startswith(("restart", "reload-or-restart"))]


def test_a_due_unit_is_enabled_and_restarted_once_with_systemd_reloaded_before(box: FakeHost) -> None:
    box.put("/etc/kubewright/inputs/x.service", "/etc/x.conf\n")
    box.set_units(x={"ActiveState": "active"})
    bundle = (file_change("/etc/x.conf", "1"), unit_change("x.service", ["/etc/x.conf"]))
    run = perform(box, *bundle)
    assert outcomes(run) == ["done", "done"]
    assert run.results[1]["detail"] == "enabled, restarted"
    assert box.calls() == ["daemon-reload", "enable x.service", "restart x.service", "daemon-reload"]
    assert outcomes(perform(box, *bundle)) == ["skipped", "skipped"]
    assert len(started(box)) == 1


def test_what_a_step_starts_is_enabled_at_once_and_systemd_reads_its_files_once(
        box: FakeHost) -> None:
    names = ("x", "y", "z")
    box.set_units(**{name: {"ActiveState": "inactive", "UnitFileState": "disabled"} for name in names})
    perform(box, *(file_change(f"/etc/systemd/system/{name}.service", name) for name in names),
            *(unit_change(f"{name}.service", [], action="start") for name in names))
    assert box.calls() == [f"enable {' '.join(f'{name}.service' for name in names)}", "daemon-reload",
                           *(f"restart {name}.service" for name in names)]


def test_a_unit_whose_files_were_written_by_a_killed_run_is_restarted_by_the_next(box: FakeHost) -> None:
    box.put("/etc/kubewright/inputs/x.service", "/etc/x.conf\n")
    box.put("/etc/x.conf", "0")
    box.set_units(x={"ActiveState": "active", "UnitFileState": "enabled"})
    box.stamp("x.service")
    box.put("/etc/x.conf", "1")
    perform(box, unit_change("x.service", ["/etc/x.conf"]))
    perform(box, unit_change("x.service", ["/etc/x.conf"]))
    assert started(box) == ["restart x.service"]


def test_a_unit_that_must_start_anew_is_restarted_once_although_it_runs_with_its_inputs(box: FakeHost) -> None:
    box.put("/etc/kubewright/inputs/x.service", "/etc/x.conf\n")
    box.put("/etc/x.conf", "0")
    box.set_units(x={"ActiveState": "active", "UnitFileState": "enabled", "InvocationID": "aa"})
    box.stamp("x.service")
    anew = unit_change("x.service", ["/etc/x.conf"]) | {"invocation": "aa"}
    assert outcomes(perform(box, anew)) == ["done"]
    assert outcomes(perform(box, anew)) == ["skipped"], "it is another start already"
    assert started(box) == ["restart x.service"]


def test_a_restart_that_a_killed_step_queued_is_not_queued_again(box: FakeHost) -> None:
    box.put("/etc/kubewright/inputs/x.service", "/etc/x.conf\n")
    box.put("/etc/x.conf", "1")
    box.stamp("x.service")
    box.set_units(x={"ActiveState": "activating", "UnitFileState": "enabled", "Job": "77"})
    assert outcomes(perform(box, unit_change("x.service", ["/etc/x.conf"]))) == ["skipped"]
    box.set_units(x={"ActiveState": "activating", "SubState": "auto-restart", "UnitFileState": "enabled"})
    assert outcomes(perform(box, unit_change("x.service", ["/etc/x.conf"]))) == ["done"]


def test_a_failed_unit_is_reset_before_it_is_started(box: FakeHost) -> None:
    box.set_units(x={"ActiveState": "failed", "UnitFileState": "enabled"})
    run = perform(box, unit_change("x.service", [], action="start"))
    assert run.results[0]["detail"] == "started"
    assert box.calls() == ["reset-failed x.service", "daemon-reload", "restart x.service"]


@pytest.mark.parametrize("active", ["active", "activating"])
def test_exits_before_a_restart_of_ours_do_not_count_as_exits_after_it(box: FakeHost, active: str) -> None:
    # also where the unit has come up with the new inputs by itself meanwhile, and nothing is left to do
    box.put("/etc/kubewright/inputs/x.service", "/etc/x.conf\n")
    box.put("/etc/x.conf", "1")
    box.stamp("x.service")
    box.set_units(x={"ActiveState": active, "UnitFileState": "enabled", "NRestarts": "7"})
    perform(box, unit_change("x.service", ["/etc/x.conf"]))
    assert box.unit("x.service")["NRestarts"] == "0"
    box.set_units(x={"ActiveState": "active", "UnitFileState": "enabled", "NRestarts": "7"})
    perform(box, unit_change("x.service", ["/etc/x.conf"], action="reload"))
    assert box.unit("x.service")["NRestarts"] == "7", "a reload starts nothing"


def test_a_reload_reloads(box: FakeHost) -> None:
    box.put("/etc/kubewright/inputs/x.service", "/etc/x.conf\n")
    box.set_units(x={"ActiveState": "active", "UnitFileState": "enabled"})
    run = perform(box, unit_change("x.service", ["/etc/x.conf"], action="reload"))
    assert run.results[0]["detail"] == "reloaded"
    assert started(box) == ["reload-or-restart x.service"]


def test_a_unit_that_must_only_start_at_boot_is_enabled_and_left_running(box: FakeHost) -> None:
    box.set_units(x={"ActiveState": "active"})
    run = perform(box, unit_change("x.service", ["/etc/x.conf"], action="enable"))
    assert run.results[0]["detail"] == "enabled"
    assert outcomes(perform(box, unit_change("x.service", ["/etc/x.conf"], action="enable"))) == ["skipped"]
    assert not started(box)


def test_a_unit_is_stopped_before_what_it_depends_on_is_restarted_and_started_after(box: FakeHost) -> None:
    for name in ("x", "y"):
        box.put(f"/etc/kubewright/inputs/{name}.service", f"/etc/{name}.conf\n")
        box.put(f"/etc/{name}.conf", "old")
        box.stamp(f"{name}.service")
    box.put("/etc/y.conf", "new")
    box.set_units(x={"ActiveState": "active", "UnitFileState": "enabled"},
                  y={"ActiveState": "active", "UnitFileState": "enabled"})
    run = perform(box, unit_change("x.service", [], action="stop"), unit_change("y.service", ["/etc/y.conf"]),
                  unit_change("x.service", ["/etc/x.conf"], action="start"))
    assert [r["detail"] for r in run.results] == ["stopped", "restarted", "started"]
    assert box.calls() == ["stop x.service", "daemon-reload", "restart y.service", "restart x.service"]


def test_a_unit_that_is_to_go_at_once_is_killed_while_its_stop_keeps_it_from_starting_anew(box: FakeHost) -> None:
    box.set_units(x={"ActiveState": "active"})
    run = perform(box, {**unit_change("x.service", [], action="stop"), "at_once": True})
    assert [r["detail"] for r in run.results] == ["stopped"]
    assert box.calls() == ["stop x.service", "kill x.service", "stop x.service"]


def test_a_unit_that_does_not_run_is_not_stopped_and_one_about_to_start_is(box: FakeHost) -> None:
    box.set_units(x={"ActiveState": "failed"}, y={"ActiveState": "inactive", "Job": "17"})
    run = perform(box, unit_change("x.service", [], action="stop"), unit_change("y.service", [], action="stop"))
    assert [r["detail"] for r in run.results] == ["", "stopped"]
    assert box.calls() == ["stop y.service"]


def test_systemd_learns_of_a_unit_file_also_when_no_unit_is_acted_on(box: FakeHost) -> None:
    perform(box, file_change("/etc/systemd/system/x.service", "[Service]"))
    assert box.calls() == ["daemon-reload"]
    perform(box, file_change("/etc/systemd/system/x.service", "[Service]"))
    assert box.calls() == ["daemon-reload"]


def test_a_unit_is_retired_once_and_its_stamp_forgotten(box: FakeHost) -> None:
    box.set_units(x={"ActiveState": "active", "UnitFileState": "enabled"})
    box.put("/run/kubewright/started/x.service", "file 0 /x\n")
    change = {"kind": "unit", "path": "x.service", "action": "remove", "expect": "", "want": "absent"}
    assert outcomes(perform(box, change)) == ["done"]
    assert not box.path("/run/kubewright/started/x.service").exists()
    assert outcomes(perform(box, change)) == ["skipped"]
    assert box.calls() == ["disable x.service", "reset-failed x.service"]


def test_a_unit_that_ends_with_a_fault_when_it_is_retired_is_not_listed_as_failed_for_ever(box: FakeHost) -> None:
    box.set_units(x={"ActiveState": "active", "UnitFileState": "enabled", "EndsAs": "failed"})
    change = {"kind": "unit", "path": "x.service", "action": "remove", "expect": "", "want": "absent"}
    assert outcomes(perform(box, change)) == ["done"]
    assert outcomes(perform(box, change)) == ["skipped"]


def test_a_unit_systemd_does_not_know_fails_with_its_words(box: FakeHost) -> None:
    run = perform(box, unit_change("ghost.service", ["/etc/x"]))
    assert run.status == "failed"
    assert "not found" in run.results[0]["detail"]


def preview(box: FakeHost, *bundle: dict) -> Run:
    run = Run(box.host, "test", bundle)
    run.preview()
    return run


def test_a_preview_shows_the_difference_and_changes_nothing(box: FakeHost) -> None:
    box.put("/etc/a", "one\ntwo\n")
    box.put("/etc/same", "x")
    box.set_units(x={"ActiveState": "active", "UnitFileState": "enabled"})
    before = sorted(box.root.rglob("*"))
    run = preview(box, file_change("/etc/a", "one\n2\n", expect=state_of("one\ntwo\n")), file_change("/etc/same", "x"),
                  unit_change("x.service", ["/etc/a"]))
    assert outcomes(run) == ["would", "skipped", "would"]
    assert run.results[0]["detail"] == "--- /etc/a\n+++ /etc/a\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n"
    assert run.results[2]["detail"] == "restart: /etc/a"
    assert sorted(box.root.rglob("*")) == before
    assert box.calls() == []


UNITS = [{"ActiveState": active, "UnitFileState": file}
         for active in ("active", "inactive", "failed") for file in ("enabled", "disabled")]
WAS_DONE = {"stop": "stopped", "enable": "enabled", "stop and disable": "stopped and disabled"}


@pytest.mark.parametrize("acts", [[act] for act in changes.UNIT_ACTIONS] + [["stop", "start"], ["stop", "stop"]],
                         ids=" ".join)
@pytest.mark.parametrize("stamped", [True, False], ids=["current", "due"])
@pytest.mark.parametrize("seen", UNITS, ids=lambda seen: " ".join(seen.values()))
def test_a_preview_says_of_a_unit_what_the_step_then_does(
        box: FakeHost, seen: dict[str, str], stamped: bool, acts: list[str]) -> None:
    box.put("/etc/a", "a")
    box.put("/etc/kubewright/inputs/x.service", "/etc/a\n")
    if stamped:
        box.stamp("x.service")
    box.set_units(x=seen)
    bundle = [unit_change("x.service", ["/etc/a"], action) for action in acts]
    said, run = preview(box, *bundle), perform(box, *bundle)
    assert ["done" if r == "would" else r for r in outcomes(said)] == outcomes(run)
    for would, done in zip(said.results, run.results, strict=True):
        told = [WAS_DONE.get(word, "started") for word in would["detail"].partition(":")[0].split(", ") if word]
        started = done["detail"].replace("restarted", "started").replace("reloaded", "started")
        assert ", ".join(told) == started


def test_a_preview_never_shows_a_secret(box: FakeHost) -> None:
    secret = file_change("/etc/s", "password", hmac_key="ab" * 32, want="")
    run = preview(box, secret, certificate_change("/pki/x.crt", "/pki/x.key", *pair(), expect="absent"))
    assert [r["detail"] for r in run.results] == ["(secret, changed)"] * 2


def test_a_step_that_fails_between_a_stop_and_its_start_leaves_the_unit_running(box: FakeHost) -> None:
    box.put("/etc/dir/file", "x")
    box.set_units(x={"ActiveState": "active", "UnitFileState": "enabled"})
    run = perform(box, unit_change("x.service", [], action="stop"),
                  file_change("/etc/dir", "x", expect="other directory"), unit_change("x.service", [], action="start"))
    assert outcomes(run) == ["done", "failed", "untouched"]
    assert "x.service was started again" in run.results[1]["detail"]
    assert box.unit("x.service")["ActiveState"] == "active"


def test_a_change_that_fails_half_way_leaves_no_temporary_file(box: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = pair("old"), pair("new")
    box.put("/pki/x.crt", old[0])
    box.put("/pki/x.key", old[1], 0o600)
    real = files.prepare

    def prepare(path: str, *rest: int) -> str:
        if path.endswith("x.crt"):
            raise OSError(28, "No space left on device")
        return real(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(files, "prepare", prepare)
    state = states.Look(box.host).see({"kind": "certificate", "path": "/pki/x.crt", "key_path": "/pki/x.key"})[0]
    run = perform(box, certificate_change("/pki/x.crt", "/pki/x.key", *new, expect=state))
    assert (run.status, box.path("/pki/x.key").read_bytes()) == ("failed", old[1])
