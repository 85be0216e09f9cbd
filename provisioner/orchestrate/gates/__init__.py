"""Proofs: read-only questions asked of hosts and APIs, polled to a deadline."""
