"""Certificates as they are made and as they are read back, for every row of compile's table."""

from __future__ import annotations

import datetime as dt
import time
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from provisioner.compile.diff import compare
from provisioner.errors import RefusedForSafety
from provisioner.model.certificate import CertificateSeen
from provisioner.model.desired import Certificate, Desired, HostDesired
from provisioner.model.observed import HostObserved, ObservedItem
from provisioner.model.validate import validate
from provisioner.operate import pki, secrets
from tests.unit.compile.compile_fixture import compiled, facts, inventory

CAS = {name: pki.new_ca(f"{name} of test") for name in ("cluster", "etcd", "front-proxy")}
PEMS = {name: pair.certificate.decode() for name, pair in CAS.items()}
KINDS = {i.path: i for h in ("cp1", "w1") for i in compiled().hosts[h].items if isinstance(i, Certificate)}
every_kind = pytest.mark.parametrize("item", KINDS.values(), ids=lambda i: i.path.rpartition("/")[2])
SERVER = KINDS["/etc/kubernetes/pki/apiserver.crt"]
CLIENT = KINDS["/etc/kubernetes/pki/admin.crt"]


def leaf(item: Certificate, life: dt.timedelta | None = None) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pki.issue(item, CAS[item.ca], life).certificate)


@every_kind
def test_what_is_issued_reads_back_as_what_was_asked_for(item: Certificate) -> None:
    seen = pki.read(pki.issue(item, CAS[item.ca]).certificate.decode(), PEMS)
    assert seen is not None
    assert seen == CertificateSeen(
        item.common_name, item.organization, item.dns_names, item.ip_addresses, item.server, item.client,
        seen.not_before, seen.not_after, item.ca, f"{item.ca} of test")
    assert seen.not_after - time.time() == pytest.approx(item.days * 86400, abs=60)


@every_kind
def test_what_was_just_issued_is_kept_by_the_diff(item: Certificate) -> None:
    pem = pki.issue(item, CAS[item.ca]).certificate.decode()
    state = f"certificate sha256:aa key-ok {item.key_mode:04o} {item.owner}:{item.group}"
    observed = HostObserved("cp1", facts("cp1", "10.77.0.11"), {
        (item.kind, item.path): ObservedItem(item.kind, item.path, state)})
    seen = pki.read(pem, PEMS)
    assert seen
    assert compare(Desired({"cp1": HostDesired("cp1", (item,))}), {"cp1": observed}, {("cp1", item.path): seen},
                   time.time()) == ()


@every_kind
def test_the_key_belongs_to_the_certificate_and_is_p256(item: Certificate) -> None:
    pair = pki.issue(item, CAS[item.ca])
    key = serialization.load_pem_private_key(pair.key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name == "secp256r1"
    assert key.public_key() == x509.load_pem_x509_certificate(pair.certificate).public_key()
    assert "PRIVATE" not in repr(pair)


def test_a_server_certificate_verifies_by_name_and_by_address_under_its_ca_and_no_other() -> None:
    certificate = leaf(SERVER)
    for subject in (x509.DNSName("kubernetes.default.svc"), x509.IPAddress(ip_address("10.77.0.10"))):
        for ca in ("cluster", "etcd"):
            store = Store([x509.load_pem_x509_certificate(PEMS[ca].encode())])
            verifier = PolicyBuilder().store(store).build_server_verifier(subject)
            if ca == "cluster":
                assert verifier.verify(certificate, [])[0] == certificate
            else:
                with pytest.raises(VerificationError):
                    verifier.verify(certificate, [])


def test_a_ca_of_the_same_name_with_another_key_is_a_foreign_ca() -> None:
    twin = pki.new_ca("cluster of test").certificate.decode()
    pem = pki.issue(CLIENT, CAS["cluster"]).certificate.decode()
    seen = pki.read(pem, {"cluster": twin})
    assert seen is not None and seen.issued_by == ""


@pytest.mark.parametrize("text", ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_reads_as_none(text: str) -> None:
    assert pki.read(text, PEMS) is None


def test_a_certificate_without_names_and_usages_reads_as_empty() -> None:
    seen = pki.read(PEMS["etcd"], PEMS)
    assert seen is not None
    assert (seen.dns_names, seen.ip_addresses, seen.server, seen.client) == ((), (), False, False)
    assert seen.issued_by == "etcd"


def test_a_leaf_never_outlives_its_ca(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pki, "CA_DAYS", 30)
    old = pki.new_ca("nearly at its end")
    certificate = x509.load_pem_x509_certificate(pki.issue(CLIENT, old).certificate)
    end = x509.load_pem_x509_certificate(old.certificate).not_valid_after_utc
    assert certificate.not_valid_after_utc <= end
    assert certificate.not_valid_after_utc > end - dt.timedelta(minutes=1)


def test_an_expired_ca_signs_nothing_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pki, "CA_DAYS", 0)
    with pytest.raises(RefusedForSafety, match="the cluster CA has expired") as refused:
        pki.issue(CLIENT, pki.new_ca("over"))
    assert (refused.value.code, refused.value.exit_code) == ("ca-expired", 15)


def test_a_short_life_is_short_and_counts_from_five_minutes_ago() -> None:
    certificate, now = leaf(CLIENT, dt.timedelta(minutes=10)), dt.datetime.now(dt.UTC)
    assert certificate.not_valid_after_utc - now <= dt.timedelta(minutes=10)
    assert now - certificate.not_valid_before_utc >= dt.timedelta(minutes=4, seconds=59)


def test_a_ca_may_sign_leaves_only_and_a_leaf_signs_nothing() -> None:
    ca = x509.load_pem_x509_certificate(CAS["etcd"].certificate)
    basic = ca.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 0)
    certificate = leaf(CLIENT)
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign


def test_a_client_certificate_is_no_server_s() -> None:
    usages = leaf(CLIENT).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usages) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_serial_numbers_and_keys_are_never_the_same_twice() -> None:
    one, two = leaf(CLIENT), leaf(CLIENT)
    assert one.serial_number != two.serial_number
    assert one.public_key() != two.public_key()


def test_the_signing_key_is_rsa_2048_with_its_public_half() -> None:
    pair = pki.new_signing_key()
    key = serialization.load_pem_private_key(pair.key, None)
    assert isinstance(key, rsa.RSAPrivateKey) and key.key_size == 2048
    assert serialization.load_pem_public_key(pair.certificate) == key.public_key()


def accepted(cluster_name: str, host: str) -> bool:
    spec = {"address": "10.77.0.11", "roles": ["control-plane", "worker"]}
    try:
        return not list(validate(inventory(cluster=cluster_name, hosts={host: spec}, api={})))
    except ValueError:
        return False


@pytest.mark.parametrize("cluster_name", ["a", "123", "a" * 46, "a" * 47, "a" * 63])
@pytest.mark.parametrize("host", ["w", "on", "b" * 52, "b" * 53, "b" * 40 + ".example.org", "b" * 41 + ".example.org"])
def test_every_name_that_validate_accepts_can_be_issued_and_no_longer_one(cluster_name: str, host: str) -> None:
    hosts = {host: {"address": "10.77.0.11", "roles": ["control-plane", "worker"]}}
    try:
        cas = {name: pki.new_ca(f"{common} of {cluster_name}") for name, common in secrets.CAS.items()}
        items = compiled(inventory(cluster=cluster_name, hosts=hosts, api={})).hosts[host].items
        issued = [pki.issue(item, cas[item.ca]) for item in items if isinstance(item, Certificate)]
    except ValueError:
        assert not accepted(cluster_name, host)
    else:
        assert accepted(cluster_name, host)
        assert len(issued) > 10
