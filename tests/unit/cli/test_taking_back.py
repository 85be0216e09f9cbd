"""Two operators of one cluster, each with a checkout: nobody undoes in silence what the other has applied."""

from __future__ import annotations

from provisioner.artifacts.lockfile import load_lock, write_lock
from provisioner.converge.results import HostResult
from provisioner.model.applied import HOST_PATH
from tests.fakes.session import World
from tests.unit.cli.test_cluster_verbs import Run, built, run, world  # noqa: F401 - fixtures
from tests.unit.cli.test_plan_verbs import Change, change, pinned  # noqa: F401 - fixtures
from tests.unit.compile.compile_fixture import lock

FLAG = {"config.kube-apiserver": {"flags": {"audit-log-maxage": 7}}, "api.extra_sans": ["k8s.example.org"]}


def applied_by_another(built: World, run: Run, change: Change) -> None:  # noqa: F811
    """Let somebody else apply FLAG, and this checkout be as it was before."""
    file, copy = built.inventory.file, built.inventory.applied_path
    before = (file.read_bytes(), copy.read_bytes())
    change(FLAG)
    assert run("up", "--yes").code == 0
    file.write_bytes(before[0])
    copy.write_bytes(before[1])
    change({})
    built.forget()


def test_an_older_checkout_does_not_undo_what_another_has_applied(built: World, run: Run, change: Change) -> None:  # noqa: F811
    applied_by_another(built, run, change)
    for _ in range(2):      # a first refusal makes nothing known that a second would pass over
        told = run("plan")
        assert "config.kube-apiserver.flags.audit-log-maxage: 7 → not there: it was applied from elsewhere" in told.out
        refused = run("up", "--yes")
        assert refused.code == 15 and "applied-elsewhere" in refused.err and "api.extra_sans" in refused.err
        assert f"hint: kubewright -i {built.inventory.path} up --allow applied-elsewhere" in refused.err
    assert built.hosts.log == []
    assert run("up", "--yes", "--allow", "applied-elsewhere").code == 0
    assert run("plan").out.startswith("No changes."), "now it is what this checkout knows"


def test_an_updated_checkout_goes_on_without_a_word(built: World, run: Run, change: Change) -> None:  # noqa: F811
    applied_by_another(built, run, change)
    change(FLAG | {"hosts.w1.labels": {"a": "b"}})
    assert run("up", "--yes").code == 0
    change({"api.extra_sans": []})
    assert run("up", "--yes").code == 0, "what it knows it may take back"


def test_a_new_clone_takes_nothing_away_before_it_was_what_is_applied(built: World, run: Run, change: Change) -> None:  # noqa: F811
    applied_by_another(built, run, change)
    built.inventory.applied_path.unlink()
    refused = run("up", "--yes")
    assert refused.code == 15 and "this checkout has not seen yet what is applied" in refused.err
    change(FLAG)
    assert run("plan").out.startswith("No changes.")
    change({"hosts.w1.labels": {"a": "b"}})
    assert run("up", "--yes").code == 0


def test_a_new_clone_adds_what_was_not_there_without_a_word(built: World, run: Run, change: Change) -> None:  # noqa: F811
    built.inventory.applied_path.unlink()
    change(FLAG)
    assert run("up", "--yes").code == 0


def test_a_record_that_nobody_can_read_is_not_taken_for_none(built: World, run: Run, change: Change) -> None:  # noqa: F811
    for name in ("cp1", "cp2", "cp3"):
        built.hosts.hosts[name].states["file", HOST_PATH] = "file sha256:x 0600 root:root"
        built.hosts.hosts[name].extras["file", HOST_PATH] = {"text": "schema_version: 99\n"}
    change({"hosts.w1.labels": {"a": "b"}})
    assert "no host's record of what was applied can be read" in run("plan").out
    refused = run("up", "--yes")
    assert refused.code == 15 and "up --allow applied-elsewhere" in refused.err and built.hosts.log == []
    assert run("up", "--yes", "--allow", "applied-elsewhere").code == 0
    assert run("plan").out.startswith("No changes."), "and now it is readable again"


def test_an_older_lock_needs_a_word(built: World, run: Run) -> None:  # noqa: F811
    built.hosts.lock = lock(flannel="0.28.9")
    write_lock(built.inventory.artifacts_lock_path, built.hosts.lock)
    refused = run("up", "--yes")
    assert refused.code == 15 and "artifacts.lock.flannel: 0.28.10 → 0.28.9" in refused.err
    assert "component-downgraded" in refused.err and built.hosts.log == []
    assert run("up", "--yes", "--allow", "component-downgraded").code == 0


def test_a_run_is_gone_on_with_from_another_machine_without_a_word(
        built: World, run: Run, change: Change) -> None:  # noqa: F811
    built.hosts.lock = load_lock(built.inventory.artifacts_lock_path)
    change(FLAG)
    assert run("up", "--yes").code == 0
    change({"config.kube-apiserver": {"flags": {"audit-log-maxage": 8}}})
    built.hosts.results["cp1"] = HostResult("cp1", "failed", message="broke")
    assert run("up", "--yes").code == 13
    built.hosts.results.clear()
    built.inventory.applied_path.unlink()       # as on a machine that never saw this cluster
    assert run("up", "--yes").code == 15
    assert run("resume", "--yes").code == 0, "what the run was to apply is what is asked for here"
    assert run("plan").out.startswith("No changes.")
