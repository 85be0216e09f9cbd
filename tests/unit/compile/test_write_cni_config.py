"""The CNI configuration of a node of two families, from what flannel wrote down: by the program that runs there."""

from __future__ import annotations

import json
import subprocess
from ipaddress import IPv6Network
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.compile.render import render

PROGRAM = "/opt/kubewright/bin/write-cni-config"


def written(directory: Path, subnets: str) -> Any:
    """Run it on a subnet.env, and return the configuration that it wrote."""
    env, config = directory / "subnet.env", directory / "10-kubewright.conflist"
    env.write_text(f"{subnets}FLANNEL_MTU=1430\nFLANNEL_IPMASQ=true\n")
    program = directory / "program"
    program.write_text(render(PROGRAM, subnet_env=str(env), cni_config=str(config), dual=True, rules="nftables"))
    subprocess.run(["sh", str(program)], check=True, timeout=60)
    plugin = json.loads(config.read_text())["plugins"][0]
    assert plugin["mtu"] == 1410        # both families of a Pod, by the one that is wrapped in more
    return plugin["ipam"]


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**56 - 1), st.integers(64, 120))
def test_a_second_family_has_the_whole_subnet_of_which_flannel_names_the_first_address(
        tmp_path_factory: Any, number: int, length: int) -> None:
    place = 0xFD << 120 | number << 64
    subnet = IPv6Network((place >> (128 - length) << (128 - length), length))
    ipam = written(tmp_path_factory.mktemp("cni"), "FLANNEL_SUBNET=10.244.3.1/24\n"
                   f"FLANNEL_IPV6_NETWORK=fd00::/8\nFLANNEL_IPV6_SUBNET={subnet[1]}/{length}\n")
    assert [IPv6Network(one["subnet"]) for one in ipam["ranges"][1]] == [subnet]
    assert ipam["routes"] == [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
