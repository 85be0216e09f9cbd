"""Text of the inventory stays text: what YAML would read as a number, a truth or nothing is the same name on hosts."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.compile.cluster import compile_cluster
from provisioner.compile.kubelet import REGISTRATION
from provisioner.compile.render import merged, render
from provisioner.model.desired import File, HostDesired
from provisioner.model.paths import data_dir
from tests.unit.compile.compile_fixture import PUBLIC, SECRETS, compiled, facts_of, inventory, lock

NAMES = ("on", "off", "yes", "no", "y", "n", "true", "null", "123", "1e3", "0x1f", "0o17", "017", "2024", "1-0")
WORDS = (*NAMES, "~", "", "1_000", "12:30", "1.0", ".inf", ".nan", "-1", "+1", "0b1", "2024-01-02", "=", "<<", "NO",
         "null ", " x", "a: b", "a #b", "- a", "[a]", "{a}", "*a", "&a", "!a", "%a", "@a", "`a", "a'b", 'a"b', "a\\b",
         "0s", "4h0m0s", "10.96.0.10", "é", "\u2028", "a\nb", "a\tb")
TYPED = (".yaml.j2", "kubeconfig.j2", ".toml.j2", ".json.j2", ".env.j2")


class OfYaml12(yaml.SafeLoader):
    """A reader by YAML 1.2's core schema, with what Go's reader adds to it: numbers with `_` and in base 2."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own name and form


for tag, pattern in (("null", r"~|null|Null|NULL|"), ("bool", r"true|True|TRUE|false|False|FALSE"),
                     ("int", r"[-+]?[0-9_]+|0o[0-7]+|0x[0-9a-fA-F]+|0b[01]+"),
                     ("float", r"[-+]?(\.[0-9_]+|[0-9_]+(\.[0-9_]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf)|\.(nan|NaN)")):
    OfYaml12.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(rf"^(?:{pattern})$"), None)
    OfYaml12.add_constructor(f"tag:yaml.org,2002:{tag}", lambda loader, node: (node.tag, node.value))

READERS = {"1.1": yaml.SafeLoader, "1.2": OfYaml12}


def files(host: HostDesired) -> Iterator[File]:
    for item in host.items:
        if isinstance(item, File) and item.content and item.path.endswith((".yaml", ".conf")) and item.path.startswith(
                ("/etc/kubernetes/", "/etc/crictl.yaml", "/var/lib/kubelet/")):
            yield item


def leaves(value: Any) -> Iterator[Any]:
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from leaves(item)
    if not isinstance(value, dict | list):
        yield value


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@pytest.mark.parametrize("name", NAMES)
def test_a_cluster_and_a_host_of_any_name_have_that_name_in_every_file(name: str, reader: Any) -> None:
    base = inventory()
    spec = base.hosts["w1"].model_dump(mode="json") | {"taints": [{"key": name, "value": name, "effect": "NoExecute"}]}
    cluster = inventory(cluster=name, hosts={"cp1": base.hosts["cp1"].model_dump(mode="json"), name: spec})
    host = compiled(cluster).hosts[name]
    read = {f.path: yaml.load(f.content, Loader=reader) for f in files(host)}  # noqa: S506
    kubeconfig = read["/etc/kubernetes/kubelet.conf"]
    assert kubeconfig["clusters"][0]["name"] == kubeconfig["contexts"][0]["context"]["cluster"] == name
    assert kubeconfig["current-context"] == name
    assert kubeconfig["users"][0]["name"] == f"system:node:{name}"
    assert read["/etc/kubernetes/kube-proxy.yaml"]["hostnameOverride"] == name
    registration = host.find("file", REGISTRATION)
    assert isinstance(registration, File) and f"--register-with-taints={name}={name}:NoExecute" in registration.content


def test_both_readers_see_the_same_in_every_file_of_the_lab() -> None:
    seen = 0
    for host in compiled().hosts.values():
        for file in files(host):
            of_11, of_12 = (list(leaves(yaml.load(file.content or "", Loader=r))) for r in READERS.values())  # noqa: S506
            texts = [v for v in of_11 if isinstance(v, str)]
            assert texts == [v for v in of_12 if isinstance(v, str)], file.path
            seen += len(texts)
    assert seen > 100


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@pytest.mark.parametrize("word", WORDS)
def test_a_text_of_config_is_read_back_as_that_text(word: str, reader: Any) -> None:
    text = merged("a: b\n", {"field": word, "map": {word: word}, "list": [word]})
    assert yaml.load(text, Loader=reader) == {  # noqa: S506
        "a": "b", "field": word, "map": {word: word}, "list": [word]}


@pytest.mark.parametrize("word", WORDS)
def test_a_text_in_json_and_toml_is_read_back_as_that_text(word: str) -> None:
    assert json.loads(render("/etc/kube-flannel/net-conf.json", pods=[word], nftables=True))["Network"] == word
    text = render("/etc/containerd/config.toml", sandbox=word, cni_config_dir=word, cni_bin_dir=word,
                  may_lower_oom_score=True, registries=word)
    toml = tomllib.loads(text)
    assert toml["plugins"]["io.containerd.cri.v1.images"]["pinned_images"]["sandbox"] == word


@pytest.mark.parametrize("upstreams", [["1.1.1.1 {"], ["a\nb"], [""], ["}"]])
def test_what_would_end_a_line_of_the_corefile_is_never_written(upstreams: list[str]) -> None:
    cluster = inventory(config={"coredns": {"upstreams": upstreams}})
    with pytest.raises(ValueError, match="is not one word"):
        compile_cluster(cluster, facts_of(cluster), lock(), SECRETS, PUBLIC)


@pytest.mark.parametrize("replicas", ["2\n  paused: true", True, None, 1.5])
def test_what_is_no_whole_number_is_never_written_as_one(replicas: object) -> None:
    cluster = inventory(config={"metrics-server": {"replicas": replicas}})
    with pytest.raises(ValueError, match="is not a whole number"):
        compile_cluster(cluster, facts_of(cluster), lock(), SECRETS, PUBLIC)


def test_every_value_in_a_template_of_yaml_json_or_toml_says_how_it_is_written() -> None:
    bare, seen = [], 0
    for file in sorted(Path(data_dir("templates")).rglob("*.j2")):
        if not file.name.endswith(TYPED):
            continue
        for expression in re.findall(r"\{\{ (.*?) \}\}", file.read_text(encoding="utf-8")):
            seen += 1
            if not re.search(r'\| (text|number|word)$|map\("word"\) \| join\(" "\)$|loop\.last$', expression):
                bare.append(f"{file.name}: {expression}")
    assert bare == []
    assert seen > 40
