"""No Pod network of ours: people apply their own when `up` has ended, and it expects the usual directories."""

from __future__ import annotations

from provisioner.compile.networks.contract import PodNetwork

NETWORK = PodNetwork(
    name="none", config_dir="/etc/cni/net.d", bin_dir="/opt/cni/bin", parents=("/opt/cni", "/etc/cni"))
