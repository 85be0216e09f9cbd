"""What a certificate says, as values: read by operate/pki.py, judged without any cryptography by compile/diff.py."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CertificateSeen:
    """The parts of a leaf certificate that decide whether it is kept.

    `issued_by` is the name of the CA of our store whose signature verified, or empty. Times are seconds since 1970.
    """

    common_name: str
    organization: str
    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...]
    server: bool
    client: bool
    not_before: float
    not_after: float
    issued_by: str

    def life_left(self, now: float) -> float:
        """Return the share of its life that is left at `now`, 0.0 to 1.0."""
        span = self.not_after - self.not_before
        return max(0.0, min(1.0, (self.not_after - now) / span)) if span > 0 else 0.0
