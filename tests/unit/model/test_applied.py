"""What was last applied, as a document: it says all that the cluster is made of, no login, and comes back the same."""

from __future__ import annotations

import pytest

from provisioner.model.applied import Applied, NotApplied, digest, from_text, logins_from, logins_text, with_logins
from tests.unit.compile.compile_fixture import inventory, lock

CLUSTER = inventory(ssh={"user": "admin", "jump": "ops@bastion"}, operators=["ssh-ed25519 AAAA x"])
APPLIED = Applied(CLUSTER, lock())


def test_the_document_comes_back_as_the_same_cluster_and_the_same_bytes() -> None:
    back = from_text(APPLIED.to_text())
    assert back.to_text() == APPLIED.to_text()
    assert back.lock == APPLIED.lock
    assert with_logins(back.cluster, CLUSTER, {}) == CLUSTER


def test_logins_and_operators_are_not_in_it() -> None:
    text = APPLIED.to_text()
    assert not [word for word in ("bastion", "AAAA", "admin:", "ssh") if word in text]
    assert Applied(inventory(), lock()).to_text() == text, "another login is no change of the cluster"


def test_a_host_that_left_is_reached_as_the_cluster_s_hosts_are() -> None:
    hosts = {n: s.model_dump(mode="json") for n, s in CLUSTER.hosts.items() if n != "w2"}
    current = inventory(hosts=hosts, ssh={"user": "other"})
    assert with_logins(CLUSTER, current, {}).ssh_of("w2").user == "other"


def test_where_a_host_that_left_was_logged_in_to_is_remembered_until_it_is_gone_from_the_cluster_too() -> None:
    hosts = {n: s.model_dump(mode="json") for n, s in CLUSTER.hosts.items()}
    hosts["w2"]["ssh"] = {"host": "w2.example.org", "port": 2222}
    there, left = inventory(hosts=hosts), inventory(hosts={n: s for n, s in hosts.items() if n != "w2"})
    known = logins_from(logins_text(there, there, {}))
    assert set(known) == {"w2"}
    known = logins_from(logins_text(left, there, known))
    login = with_logins(from_text(Applied(there, lock()).to_text()).cluster, left, known).ssh_of("w2")
    assert (login.host, login.port, login.user) == ("w2.example.org", 2222, "admin")
    assert logins_from(logins_text(left, left, known)) == {}


@pytest.mark.parametrize("text", ["", "[", "- a", "w1: {port: x}", "w1: 2"])
def test_logins_that_we_did_not_write_are_told_apart(text: str) -> None:
    with pytest.raises(NotApplied):
        logins_from(text)


@pytest.mark.parametrize("text", ["", "[", "- a", "schema_version: 2\ncluster: {}\nartifacts: []\n",
                                  "schema_version: 1\ncluster: {version: 1}\nartifacts: []\n",
                                  APPLIED.to_text().replace("sha256:", "sha:"), APPLIED.to_text()[:400]])
def test_what_is_no_document_of_ours_is_told_apart(text: str) -> None:
    with pytest.raises(NotApplied):
        from_text(text)


def test_a_digest_is_of_what_is_meant() -> None:
    assert digest(inventory()) == digest(inventory())
    assert digest(inventory()) != digest(inventory(kubernetes="1.36.4"))
    assert digest(lock()) != digest(lock(etcd="3.6.17"))
