"""What an inventory says of the world around a cluster, in the files of its hosts: only where it says so.

`UPDATE_GOLDEN=1 pytest tests/unit/compile/test_compile_shapes.py` writes tests/golden/shapes anew.
"""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.compile.web_proxy import before_packages, environment, mirror_of
from provisioner.model.applied import Applied, from_text
from provisioner.model.cluster import Cluster
from provisioner.model.desired import File
from provisioner.model.sharing import Mirror
from provisioner.model.validate import validate
from tests.unit.compile.compile_fixture import compiled, inventory, lock
from tests.unit.compile.test_compile_golden import described

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "shapes"
SHAPES: dict[str, Any] = yaml.safe_load((Path(__file__).resolve().parents[2] / "cases" / "shapes.yaml").read_text())
HOSTS = ("cp1", "w1")
RECORD = "/etc/kubewright/cluster.yaml"     # repeats the inventory


def of_shape(name: str) -> Cluster:
    return inventory(**SHAPES[name]["set"])


@cache
def texts(name: str) -> dict[str, str]:
    """Return what a shape adds and changes: each file's text, and what is new or gone as lines.

    Of the second host without the files that the first has alike.
    """
    before, after = compiled(), compiled(of_shape(name))
    found: dict[str, str] = {}
    for host in HOSTS:
        was, now = ({(i.kind, i.path): i for i in one.hosts[host].items} for one in (before, after))
        lines = [f"{'+' if key in now else '-'} {item.phase:14} {item.kind:12} {item.path}  {described(item)}\n"
                 for both in (was | now,) for key, item in both.items() if (key in was) is not (key in now)]
        found[f"{host}.items"] = "".join(lines)
        made = {path: item.content for (kind, path), item in now.items()
                if isinstance(item, File) and not item.secret and path != RECORD and item != was.get((kind, path))}
        found |= {f"{host}{path}": text for path, text in made.items() if text != found.get(f"{HOSTS[0]}{path}")}
    old = {o.identity: dict(o.body) for o in before.objects}
    bodies = [dict(o.body) for o in after.objects if dict(o.body) != old.get(o.identity)]
    return found | ({"objects.yaml": yaml.safe_dump_all(bodies, sort_keys=False)} if bodies else {})


@pytest.mark.parametrize("name", SHAPES)
def test_each_file_of_a_shape_is_as_its_golden_copy(name: str) -> None:
    wanted = texts(name)
    if os.environ.get("UPDATE_GOLDEN"):
        for file, text in wanted.items():
            (GOLDEN / name / file).parent.mkdir(parents=True, exist_ok=True)
            (GOLDEN / name / file).write_text(text)
    there = {str(p.relative_to(GOLDEN / name)): p.read_text() for p in (GOLDEN / name).rglob("*") if p.is_file()}
    assert there == wanted


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_is_valid_and_the_record_of_it_is_read_back(name: str) -> None:
    cluster = of_shape(name)
    assert list(validate(cluster)) == []
    kept = from_text(Applied(cluster, lock()).to_text()).cluster
    assert kept == cluster.model_copy(update={"ssh": kept.ssh, "lab": False})


def test_a_login_s_bytes_are_in_no_file_and_its_file_is_root_s_alone() -> None:
    host = compiled(of_shape("registries")).hosts["w1"]
    login = host.find("file", "/etc/kubewright/registries/registry.example.org:5000.json")
    assert isinstance(login, File) and login.secret is not None
    assert (login.mode, login.content, login.secret.name) == (0o600, "", "registries/registry.example.org:5000")
    unit = host.find("file", "/etc/systemd/system/kubelet.service")
    assert isinstance(unit, File) and "--image-credential-provider-config=" in unit.content


def test_only_containerd_is_told_of_a_proxy_and_never_for_what_is_the_cluster_s() -> None:
    cluster = of_shape("proxy")
    for host in compiled(cluster).hosts.values():
        for item in (i for i in host.items if isinstance(i, File) and i.path.startswith("/etc/systemd/system/")):
            told = "proxy.example.org" in item.content
            assert told is (item.path == "/etc/systemd/system/containerd.service"), item.path
            if "/kubewright-etcd-snapshot.timer" not in item.path:
                assert re.search(r"^UnsetEnvironment=http_proxy https_proxy no_proxy all_proxy", item.content, re.M)
    without = set(environment(cluster)["NO_PROXY"].split(","))
    assert {"10.77.0.0/24", "10.77.0.10", "10.244.0.0/16", "10.96.0.0/16", ".cluster.local", ".svc", "127.0.0.0/8",
            ".example.org", "192.0.2.0/24"} <= without


def test_another_host_changes_no_word_of_what_is_reached_without_the_proxy() -> None:
    before = of_shape("proxy")
    more = before.model_copy(update={"hosts": {**before.hosts, "w3": before.hosts["w2"]}})
    assert environment(more) == environment(before)
    assert before_packages(before)[:2] == ["env", "http_proxy=http://proxy.example.org:3128"]
    assert environment(inventory()) == {} and before_packages(inventory()) == []


@pytest.mark.parametrize(("url", "proxied"), [
    ("http://mirror.elsewhere.org/kw", True),
    ("http://mirror.elsewhere.org:8080/kw", True),
    ("http://mirror.example.org/kw", False),            # a domain that is excepted
    ("http://192.0.2.7:8080/kw", False),                # a range that is
    ("http://10.77.0.1/kw", False),                     # a network of hosts
    ("http://203.0.113.7/kw", True),
    ("http://[fd77::1]:8080/kw", True),
    ("https://mirror.elsewhere.org/kw", False),         # there is none for https
])
def test_hosts_reach_a_mirror_by_the_proxy_unless_that_is_not_for_it(url: str, proxied: bool) -> None:
    of = inventory(**SHAPES["proxy"]["set"], artifacts={"from": url})
    assert mirror_of(of) == Mirror(url, "http://proxy.example.org:3128" if proxied else "")


def test_a_mirror_changes_nothing_on_any_host() -> None:
    assert mirror_of(inventory()) is None
    made = compiled(inventory(artifacts={"from": "https://mirror.example.org/kw"}))
    assert {h: one.items for h, one in made.hosts.items()} == {h: one.items for h, one in compiled().hosts.items()}
