"""What a certificate says, as values: read by operate/pki.py, judged without any cryptography by compile/diff.py."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CertificateSeen:
    """The parts of a leaf certificate that decide whether it is kept.

    `issued_by` is the name of the CA of our store whose signature verified, or empty; `issuer` is who the certificate
    itself says. Times are seconds since 1970.
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
    issuer: str = ""

    def life_left(self, now: float) -> float:
        """Return the share of its life that is left at `now`, 0.0 to 1.0."""
        span = self.not_after - self.not_before
        return max(0.0, min(1.0, (self.not_after - now) / span)) if span > 0 else 0.0

    def is_valid(self, now: float) -> bool:
        """Say whether `now` lies in its life; outside of it every peer refuses it."""
        return self.not_before <= now < self.not_after

    def when(self, now: float) -> str:
        """Say how far away the end of its life is, or its beginning where that is still to come."""
        if now < self.not_before:
            return f"not valid yet: begins in {_span(self.not_before - now)}"
        if now >= self.not_after:
            return f"expired {_span(now - self.not_after)} ago"
        return f"expires in {_span(self.not_after - now)}"


def _span(seconds: float) -> str:
    """Return a time in the largest unit of which there are at least two: `20 days`, `36 hours`, `90 minutes`."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} seconds"
