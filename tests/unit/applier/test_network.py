"""What a node's packets meet, read from what nft, ip, bridge and iptables say."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.applier import network, resolver
from provisioner.applier.probe import probe
from tests.unit.applier.support import FakeHost

CASES = Path(__file__).parents[2] / "cases"
FORWARD = yaml.safe_load((CASES / "forward_drops.yaml").read_text())
RESOLVERS = yaml.safe_load((CASES / "resolv_conf.yaml").read_text())
RULES = [{"chain": "ip kube-proxy nat-output", "has": "jump services"},
         {"chain": "ip kube-proxy services", "has": "@service-ips"}]
WELL = {
    "bridge": [{"mac": "aa:02", "dst": "10.77.0.12", "flags": ["self"], "state": "permanent"},
               {"mac": "aa:99", "dst": "10.77.0.13", "flags": ["self"], "state": "permanent"},
               {"mac": "aa:03", "dst": "10.77.0.13", "flags": ["self"], "state": "permanent"}],
    "neigh": [{"dst": "10.244.2.0", "lladdr": "aa:02", "state": ["PERMANENT"]},
              {"dst": "10.244.3.0", "lladdr": "aa:03", "state": ["PERMANENT"]}],
    "route": [{"dst": "10.244.2.0/24", "gateway": "10.244.2.0", "flags": ["onlink"]},
              {"dst": "10.244.3.0/24", "gateway": "10.244.3.0", "flags": ["onlink"]}],
}
PEERS = {"w2": "10.77.0.12", "w3": "10.77.0.13"}


def program(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / "bin" / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def reason(box: FakeHost, one: dict[str, Any]) -> str:
    answer = probe(box.host, {"probes": [{"name": "it", **one}], "deadline": 0, "interval": 0.01})
    return str(answer["results"][0]["reason"])


@pytest.mark.parametrize(("said", "expected"), [
    ("echo 'chain nat-output { jump services } @service-ips'", ""),
    ("echo 'chain nat-output { }'",
     "ip kube-proxy nat-output has no `jump services`, ip kube-proxy services has no `@service-ips`"),
    ("echo 'Error: No such file or directory' >&2; exit 1",
     "ip kube-proxy nat-output is gone, ip kube-proxy services is gone"),
    ("echo 'Error: Operation not permitted' >&2; exit 1",
     "nft list chain: exit 1: Error: Operation not permitted"),
])
def test_rules_hold_when_every_chain_has_its_words(
        box: FakeHost, tmp_path: Path, said: str, expected: str) -> None:
    program(tmp_path, "nft", said)
    assert reason(box, {"kind": "rules", "rules": RULES}) == expected


def test_every_other_node_has_a_way_or_is_named(box: FakeHost, tmp_path: Path) -> None:
    program(tmp_path, "bridge", f"echo '{json.dumps(WELL['bridge'])}'")
    program(tmp_path, "ip", f"case $3 in neigh) echo '{json.dumps(WELL['neigh'])}' ;; route) echo '[]' ;; esac")
    assert reason(box, {"kind": "ways", "device": "flannel.1", "peers": PEERS}) == (
        "no way through flannel.1 to the Pods of w2, w3")
    program(tmp_path, "ip", f"case $3 in neigh) echo '{json.dumps(WELL['neigh'])}' ;; "
                            f"route) echo '{json.dumps(WELL['route'])}' ;; esac")
    assert reason(box, {"kind": "ways", "device": "flannel.1", "peers": PEERS}) == ""


def test_a_device_that_is_gone_is_said_in_words(box: FakeHost, tmp_path: Path) -> None:
    program(tmp_path, "bridge", "echo 'Cannot find device \"flannel.1\"' >&2; exit 1")
    assert reason(box, {"kind": "ways", "device": "flannel.1", "peers": PEERS}) == "flannel.1 is not there"


@pytest.mark.parametrize(("part", "index"), [("bridge", 0), ("neigh", 0), ("route", 0)])
def test_each_part_of_a_way_is_needed(part: str, index: int) -> None:
    parts = {name: [row for number, row in enumerate(rows) if (name, number) != (part, index)]
             for name, rows in WELL.items()}
    assert network.no_way(PEERS, parts["bridge"], parts["neigh"], parts["route"]) == ["w2"]


@pytest.mark.parametrize("name", FORWARD["nft"])
def test_chains_of_others_that_drop_what_is_forwarded_for_pods_are_found(
        box: FakeHost, tmp_path: Path, name: str) -> None:
    case = FORWARD["nft"][name]
    table, chains = json.dumps({"nftables": case["table"]}), [e for e in case["table"] if "chain" in e]
    program(tmp_path, "nft", f"case $3 in chains) cat <<'E'\n{json.dumps({'nftables': chains})}\nE\n;; "
                             f"*) cat <<'E'\n{table}\nE\n;; esac")
    assert network.forward_drops(box.host, ["10.244.0.0/16"]) == case["drops"]


@pytest.mark.parametrize("name", FORWARD["iptables"])
def test_without_nft_the_policy_of_iptables_is_read(box: FakeHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                    name: str) -> None:
    case = FORWARD["iptables"][name]
    program(tmp_path, "iptables", f"cat <<'E'\n{case['said']}\nE")
    program(tmp_path, "nft", "exit 127")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert network.forward_drops(box.host, ["10.244.0.0/16"]) == case["drops"]


def test_a_host_with_neither_has_no_such_chain(box: FakeHost, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert network.forward_drops(box.host, ["10.244.0.0/16"]) == []


@pytest.mark.parametrize("name", RESOLVERS)
def test_the_file_that_names_servers_which_pods_reach(box: FakeHost, name: str) -> None:
    for path, text in RESOLVERS[name]["files"].items():
        box.put(path, text)
    assert resolver.resolv_conf(box.host) == RESOLVERS[name]["is"]


@pytest.mark.parametrize(("said", "found"), [
    ("echo '-N KUBE-SERVICES'; echo '-A KUBE-SERVICES -d 10.96.0.1/32 -j DNAT --to-destination 192.0.2.1:6443'",
     ["nat KUBE-SERVICES", "filter KUBE-SERVICES"]),
    ("echo '-N KUBE-SERVICES'", []),
    ("echo 'iptables: No chain/target/match by that name.' >&2; exit 1", []),
])
def test_rules_that_another_kube_proxy_left_are_found_and_an_empty_chain_is_none(
        box: FakeHost, tmp_path: Path, said: str, found: list[str]) -> None:
    program(tmp_path, "iptables", said)
    program(tmp_path, "nft", "echo 'Error: No such file or directory' >&2; exit 1")
    assert network.services_of_others(box.host) == found


def test_without_iptables_nft_is_asked_for_them(box: FakeHost, tmp_path: Path) -> None:
    chain = "table ip nat {\n\tchain KUBE-SERVICES {\n\t\tip daddr 10.96.0.1 accept\n\t}\n}"
    program(tmp_path, "iptables", "exit 127")
    program(tmp_path, "nft", f"[ $4 = nat ] || exit 1; cat <<'E'\n{chain}\nE")
    assert network.services_of_others(box.host) == ["nat KUBE-SERVICES"]
