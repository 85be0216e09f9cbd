"""etcd's status: judged from cases that are data, and asked of a real member where the artifact cache holds one."""

from __future__ import annotations

import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.compile.pki import MEMBER_NAME
from provisioner.decide.etcd import disagreements, successor_of
from provisioner.model.etcd import EtcdStatus, MemberSeen
from provisioner.operate import pki
from provisioner.operate.access import Access
from provisioner.operate.etcd import EtcdFault, move_leader, status
from provisioner.operate.health import quorum_words
from provisioner.transport.faults import HostFault, forwarding_fault
from tests.fakes.sshd import free_port, free_ports
from tests.real.binaries import binary, leaf

ROOT = Path(__file__).resolve().parents[3]
CASES = yaml.safe_load((ROOT / "tests" / "cases" / "etcd_agreement.yaml").read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["name"])
def test_members_are_one_cluster_only_when_nothing_disagrees(case: dict[str, Any]) -> None:
    statuses = [EtcdStatus("3.6.16", 0, e["leader"], 5, 2, e["cluster"], number,
                           tuple(MemberSeen(i, name, ()) for i, name in enumerate(e["lists"])))
                for number, e in enumerate(case["endpoints"], 1)]
    assert disagreements(statuses, ["cp1", "cp2", "cp3"]) == case["faults"]


def test_a_member_that_is_a_learner_and_should_vote_is_a_disagreement_until_it_joins() -> None:
    listed = (MemberSeen(1, "cp1", ("https://a:2380",)), MemberSeen(2, "cp2", ("https://b:2380",), is_learner=True))
    statuses = [EtcdStatus("3.6.16", 0, 1, 5, 2, 7, 1, listed),
                EtcdStatus("3.6.16", 0, 1, 5, 2, 7, 2, (), learner=True)]
    assert disagreements(statuses, ["cp1", "cp2"]) == ["cp2 has no vote yet: a learner"]
    assert quorum_words(["cp1", "cp2"], dict(zip(["cp1", "cp2"], statuses, strict=True))) == "1 of 2, can lose 0"
    assert disagreements(statuses[:1], ["cp1"], joining=["https://b:2380"]) == []


def test_the_leader_is_the_member_that_the_status_names() -> None:
    seen = EtcdStatus("3.6.16", 0, 2, 5, 2, 7, 2, ())
    assert seen.is_leader
    assert not EtcdStatus("3.6.16", 0, 2, 5, 2, 7, 1, ()).is_leader


def seen(member: int, *, index: int = 5, leader: int = 1, known: Sequence[int] = (1, 2, 3)) -> EtcdStatus:
    listed = tuple(MemberSeen(i, f"cp{i}" if i != 9 else "", ()) for i in known)
    return EtcdStatus("3.6.16", 0, leader, index, 2, 7, member, listed)


@pytest.mark.parametrize(("others", "successor"), [
    ([seen(2, index=4), seen(3, index=5)], 3),              # the one that is furthest
    ([seen(3), seen(2)], 3),                                # of equals always the same
    ([seen(2)], 2),
    ([], None),                                             # nobody answers
    ([seen(2, leader=0)], None),                            # it has lost the cluster
    ([seen(4)], None),                                      # the leader does not know it
])
def test_the_member_that_should_lead_next_is_known_answers_and_is_the_furthest(
        others: list[EtcdStatus], successor: int | None) -> None:
    assert successor_of(seen(1), others) == successor


@contextmanager
def running(directory: Path, names: Sequence[str], ports: Mapping[str, tuple[int, int]] | None = None,
            ) -> Iterator[dict[str, Access]]:
    """Run members with mutual TLS on loopback ports; each with the way to it, all of one cluster that has a leader.

    `ports` are those for clients and for peers, where the members' data knows them already.
    """
    program = binary("etcd", directory)
    ca = pki.new_ca("etcd-ca of test")
    (directory / "ca.crt").write_bytes(ca.certificate)
    server = leaf(directory, ca, "cp1", dns_names=(MEMBER_NAME, "localhost"), ip_addresses=("127.0.0.1",), server=True,
                  client=True)
    client = leaf(directory, ca, "health", client=True)
    free = iter(free_ports(2 * len(names)))
    ports = ports or {name: (next(free), next(free)) for name in names}
    initial = ",".join(f"{name}=https://127.0.0.1:{peer}" for name, (_, peer) in ports.items())
    cert, key, trusted = f"={server[0]}", f"={server[1]}", f"={directory / 'ca.crt'}"
    with ExitStack() as stack:
        found: dict[str, Access] = {}
        for name, (port, peer) in ports.items():
            argv = [str(program), f"--name={name}", f"--data-dir={directory / name}", "--log-level=error",
                    "--unsafe-no-fsync", "--election-timeout=5000",     # a member that has to wait starts no election
                    f"--listen-client-urls=https://127.0.0.1:{port}",
                    f"--advertise-client-urls=https://127.0.0.1:{port}",
                    f"--listen-peer-urls=https://127.0.0.1:{peer}",
                    f"--initial-advertise-peer-urls=https://127.0.0.1:{peer}", f"--initial-cluster={initial}",
                    "--client-cert-auth", "--peer-client-cert-auth", f"--peer-cert-allowed-hostname={MEMBER_NAME}",
                    f"--cert-file{cert}", f"--key-file{key}",
                    f"--trusted-ca-file{trusted}", f"--peer-cert-file{cert}", f"--peer-key-file{key}",
                    f"--peer-trusted-ca-file{trusted}"]
            log = stack.enter_context((directory / f"{name}.log").open("wb"))
            etcd = stack.enter_context(subprocess.Popen(argv, stdout=log, stderr=log, cwd=directory))
            stack.callback(etcd.kill)
            found[name] = Access(("127.0.0.1", port), directory / "ca.crt", *client)
        for access in found.values():
            wait_for(access, etcd, directory / f"{name}.log")
        yield found


@pytest.fixture(scope="module")
def member(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Access]:
    """Start one member, and stop it afterwards."""
    with running(tmp_path_factory.mktemp("etcd"), ["cp1"]) as found:
        yield found["cp1"]


def wait_for(access: Access, etcd: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            if status(access).leader_id:
                return
        except EtcdFault:
            pass
        assert etcd.poll() is None and time.monotonic() < end, log.read_text()
        time.sleep(0.1)


def test_a_real_member_tells_version_leader_and_membership_over_mutual_tls(member: Access) -> None:
    seen = status(member, timeout=20)
    assert seen.version.startswith("3.6.")
    assert seen.is_leader
    assert [(m.id, m.name) for m in seen.members] == [(seen.member_id, "cp1")]
    assert seen.cluster_id and seen.db_size > 0 and seen.raft_term > 0
    assert 0 < seen.in_use <= seen.db_size and 0 < seen.applied <= seen.raft_index and not seen.learner
    assert disagreements([seen], ["cp1"]) == []


def test_a_proxy_of_the_operator_s_machine_is_not_asked(member: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("grpc_proxy", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    assert status(member, timeout=20).is_leader


def test_a_client_that_the_etcd_ca_did_not_sign_is_a_fault_within_the_deadline(
        member: Access, tmp_path: Path) -> None:
    foreign = leaf(tmp_path, pki.new_ca("etcd-ca of test"), "health", client=True)
    began = time.monotonic()
    with pytest.raises(EtcdFault, match="asking a member for its status"):
        status(Access(member.address, member.ca_file, *foreign), timeout=2.0)
    assert time.monotonic() - began < 10


def test_a_server_that_our_ca_did_not_sign_is_not_believed(member: Access, tmp_path: Path) -> None:
    other = tmp_path / "other-ca.crt"
    other.write_bytes(pki.new_ca("etcd-ca of test").certificate)
    with pytest.raises(EtcdFault):
        status(Access(member.address, other, member.cert_file, member.key_file), timeout=2.0)


def test_a_port_where_nobody_listens_is_a_fault_with_the_reason(tmp_path: Path) -> None:
    ca = pki.new_ca("etcd-ca of test")
    (tmp_path / "ca.crt").write_bytes(ca.certificate)
    access = Access(("127.0.0.1", free_port()), tmp_path / "ca.crt", *leaf(tmp_path, ca, "health", client=True))
    with pytest.raises(EtcdFault) as fault:
        status(access, timeout=2.0)
    assert fault.value.exit_code == 13
    assert "status: " in fault.value.message and not fault.value.message.endswith("status: ")


def test_a_client_of_etcd_does_not_pass_for_a_member_of_it(tmp_path: Path) -> None:
    with running(tmp_path, ["cp1"]) as access:
        way = access["cp1"]
        port = int(status(way, timeout=20).members[0].peer_urls[0].rpartition(":")[2])
        assert b"200 OK" in said_to_peer(port, way.ca_file, (tmp_path / "cp1.crt", tmp_path / "cp1.key"))
        with pytest.raises((ssl.SSLError, ConnectionError)):
            said_to_peer(port, way.ca_file, (way.cert_file, way.key_file))


def said_to_peer(port: int, ca: Path, own: tuple[Path, Path]) -> bytes:
    """Return what a member's peer port answers; the TLS error of one who may not speak there."""
    context = ssl.create_default_context(cafile=ca)
    context.load_cert_chain(*own)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain, \
            context.wrap_socket(plain, server_hostname="localhost") as tls:
        tls.sendall(b"GET /version HTTP/1.0\r\n\r\n")
        return tls.recv(4096)


def test_a_way_that_sshd_has_closed_is_told_instead_of_the_socket_that_closes(tmp_path: Path) -> None:
    ca = pki.new_ca("etcd-ca of test")
    (tmp_path / "ca.crt").write_bytes(ca.certificate)
    access = Access(("127.0.0.1", free_port()), tmp_path / "ca.crt", *leaf(tmp_path, ca, "health", client=True),
                    lambda: forwarding_fault("cp1"))
    with pytest.raises(HostFault, match=r"cp1: .*sshd forbids forwarding"):
        status(access, timeout=2.0)


def test_a_real_leader_hands_over_and_any_other_member_refuses_to(tmp_path: Path) -> None:
    with running(tmp_path, ["cp1", "cp2", "cp3"]) as access:
        statuses = {name: status(way, timeout=20) for name, way in access.items()}
        leader = next(name for name, s in statuses.items() if s.is_leader)
        others = [s for name, s in statuses.items() if name != leader]
        successor = successor_of(statuses[leader], others)
        assert successor is not None
        follower = next(name for name in access if name != leader)
        with pytest.raises(EtcdFault, match=r"moving the leadership: .*not leader"):
            move_leader(access[follower], successor, timeout=20)
        move_leader(access[leader], successor, timeout=20)
        after = status(access[leader], timeout=20)
        assert (after.is_leader, after.leader_id) == (False, successor)
        assert after.raft_term == statuses[leader].raft_term + 1, "one term, no election beside it"
