"""Whose a host is: nobody takes a host that is another cluster's, also not with a first start."""

from __future__ import annotations

import shutil

import pytest

from provisioner.compile.etcd import BOOTSTRAPPED
from provisioner.compile.pki import CA, CAS
from provisioner.errors import RefusedForSafety
from provisioner.model.observed import Owner
from provisioner.operate import pki
from provisioner.orchestrate.plan import owner, preflight
from provisioner.orchestrate.plan.survey import create_secrets, survey
from provisioner.orchestrate.run import engine
from provisioner.orchestrate.run.verbs import UP
from tests.fakes.host import FakeHost
from tests.fakes.session import World, instant

A_WORKER = "w1"


def moved(world: World, host: FakeHost) -> FakeHost:
    """Put a host of another world into this one, as a mistyped address does."""
    world.hosts.hosts[host.name] = host
    return host


def refusal(world: World, *allowed: str) -> RefusedForSafety:
    with world.session() as session, pytest.raises(RefusedForSafety) as refused:
        session.run.allowed = allowed
        preflight.fit_survey(session)
    assert refused.value.exit_code == 15
    return refused.value


def cluster(world: World) -> World:
    """Make A's CAs bear A's name, as its first `up` would; by them alone its hosts are known."""
    store = world.secrets()
    shutil.rmtree(world.inventory.secrets_dir, ignore_errors=True)
    store.create("a")
    for host in world.hosts.hosts.values():
        host.owner = None
        for path, name in CAS.items():
            if ("file", path) in host.states:
                host.edit(path, "file sha256:of-a 0644 root:root", store.public()[name])
    return world


@pytest.fixture
def worker_of_a(built_elsewhere: World) -> FakeHost:
    return built_elsewhere.hosts.hosts[A_WORKER]


@pytest.fixture
def worker(world: World, worker_of_a: FakeHost) -> FakeHost:
    """Return a live worker of cluster A that B's inventory names too."""
    return moved(world, worker_of_a)


@pytest.fixture
def built_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> World:
    with pytest.MonkeyPatch.context() as patch:
        instant(patch)
        world = World.make(tmp_path_factory.mktemp("a"), patch)
        return cluster(world.build(patch))


def test_a_first_start_takes_no_worker_of_another_cluster_and_names_whose_it_is(
        world: World, worker: FakeHost) -> None:
    before = dict(worker.states)
    fault = refusal(world)
    assert fault.code == "foreign-host"
    assert fault.message == f"w1: belongs to cluster a: {CA} is another CA than that of this inventory"
    assert fault.hint == ("take w1 out of cluster.yaml; or, to take it away from there: "
                          "kubewright up --allow another-cluster")
    assert (world.hosts.log, dict(worker.states)) == ([], before)
    assert not world.inventory.secrets_dir.exists()


def test_check_tells_it_as_a_finding_of_that_host_beside_the_others(world: World, worker: FakeHost) -> None:
    with world.session() as session:
        report = preflight.look(session)
    assert [(f.check, f.host) for f in report.errors] == [("cluster", "w1")]
    assert "belongs to cluster a" in report.errors[0].saw


def test_it_is_taken_where_that_was_asked_for(world: World, worker: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    instant(monkeypatch)
    with world.session() as session:
        session.run.allowed = (owner.TAKE,)
        preflight.fit_survey(session)
        create_secrets(session)
        owner.claim(session)
        engine.run(session, UP)
    assert worker.extras["file", CA]["text"] == world.secrets().public()["ca.crt"]
    assert worker.owner == owner.ours(world.session())


def test_a_live_cluster_takes_no_worker_of_another_either(built: World, built_elsewhere: World) -> None:
    moved(built, built_elsewhere.hosts.hosts[A_WORKER])
    assert "w1: belongs to cluster a" in refusal(built).message
    with built.session() as session:
        session.run.allowed = (owner.TAKE,)
        assert survey(session).changes


@pytest.mark.parametrize("allowed", [(), (owner.TAKE,)])
def test_the_data_of_an_etcd_member_is_never_taken(
        world: World, built_elsewhere: World, allowed: tuple[str, ...]) -> None:
    host = moved(world, built_elsewhere.hosts.hosts["cp1"])
    assert refusal(world, *allowed).code == "foreign-ca"
    del host.states["file", BOOTSTRAPPED]       # A was killed before its gate
    fault = refusal(world, *allowed)
    assert (fault.code, "--allow" in fault.hint) == ("foreign-host", False)
    with world.session() as session:
        (finding,) = preflight.look(session).errors
    assert (finding.host, "--allow" in finding.cure) == ("cp1", False)


def test_a_host_that_a_run_of_another_cluster_began_with_is_that_one_s_before_it_has_any_ca(world: World) -> None:
    world.hosts.hosts["w1"].owner = Owner("a", "sha256:1")
    fault = refusal(world)
    assert fault.message == "w1: belongs to cluster a: a run of it began there"
    with world.session() as session:
        assert [f.host for f in preflight.look(session).errors] == ["w1"]


def test_a_cluster_whose_inventory_was_copied_with_its_secrets_is_another_one_by_its_name(built: World) -> None:
    built.hosts.hosts["w1"].owner = Owner("a", owner.ours(built.session()).ca)
    assert refusal(built).message == "w1: belongs to cluster a: its CA was copied into this inventory"


@pytest.mark.parametrize("phase", [None, "stage", "pki", "runtime", "etcd"])
def test_a_half_built_cluster_of_this_inventory_is_continued(
        world: World, monkeypatch: pytest.MonkeyPatch, phase: str | None) -> None:
    instant(monkeypatch)
    names = [p.name for p in UP]
    with world.session() as session:
        survey(session)
        create_secrets(session)
        owner.claim(session)
        engine.run(session, UP[:names.index(phase) + 1 if phase else 0])  # type: ignore[arg-type]
    with world.session() as session:
        preflight.fit_survey(session)
        owner.claim(session)
        engine.run(session, UP)
    with world.session() as session:
        assert survey(session).is_empty


def test_killed_before_any_ca_and_its_secrets_lost_it_is_begun_anew(world: World) -> None:
    with world.session() as session:
        survey(session)
        create_secrets(session)
        owner.claim(session)
    shutil.rmtree(world.inventory.secrets_dir)
    with world.session() as session:
        preflight.fit_survey(session)
        create_secrets(session)
        owner.claim(session)
    assert {h.owner for h in world.hosts.hosts.values()} == {owner.ours(world.session())}


def test_secrets_lost_after_hosts_got_their_ca_are_asked_for_back(
        world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    instant(monkeypatch)
    with world.session() as session:
        survey(session)
        create_secrets(session)
        engine.run(session, UP[:[p.name for p in UP].index("pki") + 1])
    shutil.rmtree(world.inventory.secrets_dir)
    fault = refusal(world)
    assert "and this inventory has none yet" in str(fault.details)


def test_a_run_of_another_cluster_that_was_quicker_stops_this_one_before_its_first_change(world: World) -> None:
    with world.session() as session:
        survey(session)
        create_secrets(session)
        world.hosts.hosts["w2"].owner = Owner("a", "sha256:1")
        with pytest.raises(RefusedForSafety, match="w2"):
            owner.claim(session)
    assert world.hosts.log == []


def test_what_another_tool_made_is_left_to_its_own_check(world: World) -> None:
    host = world.hosts.hosts["w1"]
    host.edit(CA, "file sha256:of-kubeadm 0644 root:root", pki.new_ca("kubernetes").certificate.decode())
    with world.session() as session:
        survey(session)
    host.epoch = 3              # a run of ours was here, so that check believes that the CA is ours
    assert refusal(world).message == f"w1: belongs to another cluster: {CA} is another CA than that of this inventory"
