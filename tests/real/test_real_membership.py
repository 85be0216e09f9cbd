"""Learners of real members on loopback: a phantom costs nobody anything, and every race of a promotion ends well."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import grpc
import pytest

from provisioner.compile.pki import MEMBER_NAME
from provisioner.decide.membership import Act, Membership, Refused, next_act
from provisioner.model.desired import EtcdMember
from provisioner.model.etcd import MemberSeen
from provisioner.operate import etcd, etcd_membership, etcd_wire
from provisioner.operate.access import Access
from provisioner.operate.etcd import EtcdFault
from tests.fakes.sshd import free_ports
from tests.real.binaries import until
from tests.unit.operate.test_etcd import running

pytestmark = [pytest.mark.binaries, pytest.mark.timeout(180)]
RECONFIGURED = 60.0         # members must have been connected for 5 s
PHANTOM = "https://192.0.2.1:2380"      # TEST-NET-1: nobody is there


@pytest.fixture
def three(tmp_path: Path) -> Iterator[dict[str, Access]]:
    with running(tmp_path, ["cp1", "cp2", "cp3"]) as found:
        yield found


def added(access: Access, url: str) -> int:
    """Add a learner as soon as etcd takes one, and return its id; asked again for any reason, as a run asks."""
    end = time.monotonic() + RECONFIGURED
    while True:
        try:
            return etcd_membership.add_learner(access, url, timeout=5)
        except EtcdFault as fault:
            there = [m.id for m in etcd_membership.listed(access) if url in m.peer_urls]
            if there:
                return there[0]
            assert time.monotonic() < end, fault.message
            time.sleep(0.5)


def of(access: Access, member: int) -> MemberSeen:
    return next(m for m in etcd_membership.listed(access) if m.id == member)


@contextmanager
def started(directory: Path, name: str, ports: tuple[int, int], others: tuple[MemberSeen, ...]) -> Iterator[None]:
    """Run a member that joins the others, with the list of the moment."""
    client, peer = ports
    listed = [f"{m.name}={url}" for m in others for url in m.peer_urls if m.name]
    server = directory / "cp1.crt", directory / "cp1.key"
    tls = [f"--{kind}{what}={file}" for kind in ("", "peer-") for what, file in (
        ("cert-file", server[0]), ("key-file", server[1]), ("trusted-ca-file", directory / "ca.crt"))]
    argv = [str(directory / "etcd"), f"--name={name}", f"--data-dir={directory / name}", "--log-level=error",
            "--unsafe-no-fsync", "--election-timeout=5000", "--initial-cluster-state=existing",
            f"--initial-cluster={','.join([*listed, f'{name}=https://127.0.0.1:{peer}'])}",
            f"--listen-client-urls=https://127.0.0.1:{client}", f"--advertise-client-urls=https://127.0.0.1:{client}",
            f"--listen-peer-urls=https://127.0.0.1:{peer}", f"--initial-advertise-peer-urls=https://127.0.0.1:{peer}",
            "--client-cert-auth", "--peer-client-cert-auth", f"--peer-cert-allowed-hostname={MEMBER_NAME}", *tls]
    with (directory / f"{name}.log").open("wb") as log, \
            subprocess.Popen(argv, stdout=log, stderr=log, cwd=directory) as program:
        try:
            yield
        finally:
            program.kill()


def test_a_learner_whose_address_nobody_has_never_votes_and_no_write_fails_meanwhile(three: dict[str, Access]) -> None:
    access = three["cp1"]
    member = added(access, PHANTOM)
    seen = of(access, member)
    assert (seen.name, seen.is_learner, seen.peer_urls) == ("", True, (PHANTOM,))
    for number in range(50):
        with etcd.client_of(access, 5, "writing") as (client, _):
            client.put(f"k{number}", "v")
    with pytest.raises(EtcdFault, match=r"in sync with leader|learner"):
        etcd_membership.promote(access, member, timeout=5)
    assert of(access, member).is_learner
    voters = [m for m in etcd_membership.listed(access) if not m.is_learner]
    answering = {m.id for m in voters}
    wanted = [EtcdMember(m.name, "127.0.0.1", peer_port=int(m.peer_urls[0].rpartition(":")[2])) for m in voters]
    ours = next_act(Membership(etcd_membership.listed(access), answering, [PHANTOM]), wanted)
    assert ours == Act("remove", "", member, PHANTOM)
    assert isinstance(next_act(Membership(etcd_membership.listed(access), answering), wanted), Refused), "not ours"
    etcd_membership.remove(access, member)
    assert len(etcd_membership.listed(access)) == 3


def test_a_learner_is_promoted_when_it_has_all_data_and_a_second_time_is_refused_by_name(
        three: dict[str, Access], tmp_path: Path) -> None:
    access = three["cp1"]
    ports = tuple(free_ports(2))
    url = f"https://127.0.0.1:{ports[1]}"
    member = added(access, url)
    with pytest.raises(EtcdFault, match="learner"):
        etcd_membership.promote(access, member, timeout=5)         # before it was started
    with pytest.raises(EtcdFault, match=r"Peer URLs already exists|too many learner|member ID already exist"):
        etcd_membership.add_learner(access, url, timeout=5)         # a record of the address names exactly one
    with started(tmp_path, "cp4", (ports[0], ports[1]), etcd_membership.listed(access)):
        until(lambda: of(access, member).name == "cp4", 60, "the learner has told its name")
        own = Access(("127.0.0.1", ports[0]), access.ca_file, access.cert_file, access.key_file)
        until(lambda: hears(own), 60, "the learner hears the leader")
        seen = etcd.status(own)
        assert (seen.learner, seen.members, seen.member_id) == (True, (), member), "its own state, and nobody's list"
        until(lambda: promoted(access, member), 60, "the learner votes")
        assert not of(access, member).is_learner
        with pytest.raises(EtcdFault, match=r"not a learner|can only promote a learner"):
            etcd_membership.promote(access, member, timeout=5)      # already
        assert etcd.status(own).member_id == member
        etcd_membership.remove(access, member, timeout=10)
        until(lambda: all(m.id != member for m in etcd_membership.listed(access)), 30, "it is out")


def test_a_promotion_whose_answer_was_lost_is_seen_in_the_list_and_not_asked_for_again(
        three: dict[str, Access], tmp_path: Path) -> None:
    access = three["cp1"]
    ports = tuple(free_ports(2))
    url = f"https://127.0.0.1:{ports[1]}"
    member = added(access, url)
    wanted = [EtcdMember(m.name or "cp4", "127.0.0.1", peer_port=int(m.peer_urls[0].rpartition(":")[2]))
              for m in etcd_membership.listed(access)]
    with started(tmp_path, "cp4", (ports[0], ports[1]), etcd_membership.listed(access)):
        until(lambda: of(access, member).name == "cp4", 60, "the learner has told its name")
        own = Access(("127.0.0.1", ports[0]), access.ca_file, access.cert_file, access.key_file)
        until(lambda: hears(own), 60, "the learner hears the leader")
        until(lambda: etcd.status(own).applied == etcd.status(access).applied, 30, "it has all data")
        with Deaf(access.address) as way, etcd.client_of(
                Access(way.address, access.ca_file, access.cert_file, access.key_file), 5, "promoting") as (client, _):
            etcd_wire.members(client, "List", 5)        # connected
            way.is_deaf.set()
            with pytest.raises(grpc.RpcError):
                etcd_wire.members(client, "Promote", 3, ID=member)
        until(lambda: not of(access, member).is_learner, 30, "it votes all the same")
        everybody = {m.id for m in etcd_membership.listed(access)}
        assert next_act(Membership(etcd_membership.listed(access), everybody, [url]), wanted) is None
        with pytest.raises(EtcdFault, match=r"not a learner|can only promote a learner"):
            etcd_membership.promote(access, member, timeout=5)


class Deaf:
    """A way to a member that carries every request to it and, once it is deaf, no answer back."""

    def __init__(self, to: tuple[str, int]) -> None:
        self.is_deaf = threading.Event()
        self._to, self._ends = to, ExitStack()
        self._door = self._ends.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.address: tuple[str, int] = self._door.getsockname()

    def __enter__(self) -> Deaf:
        threading.Thread(target=self._let_in, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    def _let_in(self) -> None:
        with suppress(OSError):         # the door was closed
            while True:
                client = self._ends.enter_context(self._door.accept()[0])
                member = self._ends.enter_context(socket.create_connection(self._to, timeout=5))
                member.settimeout(None)
                for source, to, answers in ((client, member, False), (member, client, True)):
                    threading.Thread(target=self._carry, args=(source, to, answers), daemon=True).start()

    def _carry(self, source: socket.socket, to: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if not (answers and self.is_deaf.is_set()):
                    to.sendall(data)


def hears(access: Access) -> bool:
    try:
        return etcd.hears_leader(access)
    except EtcdFault:
        return False


def promoted(access: Access, member: int) -> bool:
    try:
        etcd_membership.promote(access, member, timeout=5)
    except EtcdFault:
        return False
    return True


def test_a_member_that_lost_its_data_is_taken_out_first_and_joins_anew_with_all_of_it(
        three: dict[str, Access], tmp_path: Path) -> None:
    access, ports = three["cp1"], tuple(free_ports(2))
    url, own = f"https://127.0.0.1:{ports[1]}", Access(
        ("127.0.0.1", ports[0]), access.ca_file, access.cert_file, access.key_file)
    wanted = [*(EtcdMember(m.name, "127.0.0.1", peer_port=int(m.peer_urls[0].rpartition(":")[2]))
                for m in etcd_membership.listed(access)), EtcdMember("cp4", "127.0.0.1", peer_port=ports[1])]
    ids = []
    for _ in range(2):
        ids.append(added(access, url))
        with started(tmp_path, "cp4", (ports[0], ports[1]), etcd_membership.listed(access)):
            until(lambda: of(access, ids[-1]).name == "cp4", 60, "the learner has told its name")
            until(lambda: promoted(access, ids[-1]), 60, "the learner votes")
            with etcd.client_of(access, 5, "writing") as (client, _):
                client.put(f"of {len(ids)}", "v")
            until(lambda: etcd.status(own).applied == etcd.status(access).applied, 30, "it has all data")
            seen = {etcd.status(way).cluster_id for way in (own, access)}
            assert len(seen) == 1, "no second cluster"
            revision = etcd.status(access).revision
            assert etcd.hash_of(own, revision) == etcd.hash_of(access, revision)
        if len(ids) == 1:
            shutil.rmtree(tmp_path / "cp4")
            alive = {m.id for m in etcd_membership.listed(access)} - {ids[0]}
            act = next_act(Membership(etcd_membership.listed(access), alive), wanted, [ids[0]])
            assert act == Act("remove", "cp4", ids[0], url)
            until(lambda: removed(access, ids[0]), 60, "the dead member is out")
    assert ids[0] != ids[1]


def removed(access: Access, member: int) -> bool:
    try:
        etcd_membership.remove(access, member, timeout=5)
    except EtcdFault:
        return all(m.id != member for m in etcd_membership.listed(access))
    return True
