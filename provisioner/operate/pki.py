"""Makes and reads certificates; which ones there are is compile's table, this file only knows how."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from provisioner.errors import RefusedForSafety
from provisioner.model.certificate import CertificateSeen
from provisioner.model.desired import Certificate

CA_DAYS = 3650
# Clocks differ: a certificate counts from five minutes ago (kubeadm does the same, pkiutil/pki_helpers.go).
BACKDATE = dt.timedelta(minutes=5)


@dataclass(frozen=True)
class KeyPair:
    """A certificate and its private key as PEM; the key stays out of every repr."""

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return "KeyPair(***)"


def _private_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def new_ca(common_name: str) -> KeyPair:
    """Make a self-signed CA (P-256, ten years) that may sign leaves only."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = (
        _builder(name, name, key.public_key(), dt.timedelta(days=CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    certificate = builder.sign(key, hashes.SHA256())
    return KeyPair(certificate.public_bytes(serialization.Encoding.PEM), _private_pem(key))


def new_signing_key() -> KeyPair:
    """Make the key pair that signs service account tokens: RSA 2048, what every client library verifies (RS256)."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return KeyPair(public, _private_pem(key))


def issue(item: Certificate, ca: KeyPair, lifetime: dt.timedelta | None = None) -> KeyPair:
    """Issue the leaf that `item` describes with a new P-256 key; `lifetime` overrides its days.

    It never outlives its CA, so the last years of a CA make short leaves; RefusedForSafety once the CA has expired.
    """
    issuer = x509.load_pem_x509_certificate(ca.certificate)
    ca_key = serialization.load_pem_private_key(ca.key, password=None)
    if not isinstance(ca_key, ec.EllipticCurvePrivateKey):
        raise TypeError("CA keys are P-256")
    key = ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, item.common_name)]
    if item.organization:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, item.organization))
    left = issuer.not_valid_after_utc - dt.datetime.now(dt.UTC)
    if left <= dt.timedelta():
        raise RefusedForSafety(f"issuing {item.path or item.common_name}: the {item.ca} CA has expired",
                               details=["nothing was changed by this step"], hint="kubewright certs check",
                               code="ca-expired")
    life = min(lifetime or dt.timedelta(days=item.days), left)
    builder = (
        _builder(x509.Name(attributes), issuer.subject, key.public_key(), life)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(_usages(item)), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )
    names = _alternative_names(item)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.sign(ca_key, hashes.SHA256())
    return KeyPair(certificate.public_bytes(serialization.Encoding.PEM), _private_pem(key))


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, life: dt.timedelta
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public)
        .serial_number(x509.random_serial_number()).not_valid_before(now - BACKDATE).not_valid_after(now + life)
    )


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=ca, crl_sign=ca, encipher_only=False, decipher_only=False)


def _usages(item: Certificate) -> list[x509.ObjectIdentifier]:
    pairs = ((item.server, ExtendedKeyUsageOID.SERVER_AUTH), (item.client, ExtendedKeyUsageOID.CLIENT_AUTH))
    return [oid for wanted, oid in pairs if wanted]


def _alternative_names(item: Certificate) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [x509.DNSName(n) for n in item.dns_names]
    return names + [x509.IPAddress(ipaddress.ip_address(a)) for a in item.ip_addresses]


def read(pem: str, cas: Mapping[str, str]) -> CertificateSeen | None:
    """Return what a PEM certificate says, or None where it is no certificate.

    `cas` maps CA names to their PEM; `issued_by` is set only where that CA's signature verifies.
    """
    certificate = _load(pem)
    if certificate is None:
        return None
    return CertificateSeen(
        common_name=_attribute(certificate.subject, NameOID.COMMON_NAME),
        organization=_attribute(certificate.subject, NameOID.ORGANIZATION_NAME),
        dns_names=tuple(_names(certificate, x509.DNSName)),
        ip_addresses=tuple(str(a) for a in _names(certificate, x509.IPAddress)),
        server=ExtendedKeyUsageOID.SERVER_AUTH in _extended(certificate),
        client=ExtendedKeyUsageOID.CLIENT_AUTH in _extended(certificate),
        not_before=certificate.not_valid_before_utc.timestamp(),
        not_after=certificate.not_valid_after_utc.timestamp(),
        issued_by=next((name for name, ca in cas.items() if _signed_by(certificate, ca)), ""),
        issuer=_attribute(certificate.issuer, NameOID.COMMON_NAME),
    )


def is_another(pem: str, ours: str) -> bool:
    """Say whether `pem` is a certificate, but not ours; what is no certificate (torn, edited) is nobody's."""
    seen = _load(pem)
    return seen is not None and seen != _load(ours)


def common_name(pem: str) -> str:
    """Return the name that a certificate is issued to, "" for what is no certificate."""
    certificate = _load(pem)
    return _attribute(certificate.subject, NameOID.COMMON_NAME) if certificate else ""


def is_pair(pem: str, key: str) -> bool:
    """Say whether `key` is the private key of the certificate `pem`."""
    certificate = _load(pem)
    try:
        private = serialization.load_pem_private_key(key.encode(), password=None)
    except (ValueError, TypeError):
        return False
    return certificate is not None and private.public_key() == certificate.public_key()


def _load(pem: str) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except ValueError:
        return None


def _attribute(name: x509.Name, oid: x509.ObjectIdentifier) -> str:
    found = name.get_attributes_for_oid(oid)
    return str(found[0].value) if found else ""


def _names(certificate: x509.Certificate, kind: type[x509.DNSName] | type[x509.IPAddress]) -> list[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return [str(value) for value in extension.value.get_values_for_type(kind)]


def _extended(certificate: x509.Certificate) -> list[x509.ObjectIdentifier]:
    try:
        return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return []


def _signed_by(certificate: x509.Certificate, ca_pem: str) -> bool:
    try:
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(ca_pem.encode()))
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
