"""Our CoreDNS has the plugins that our Corefile names, all of them and no others."""

from __future__ import annotations

import re
from pathlib import Path

from provisioner.artifacts.catalogue import load_catalogue

ROOT = Path(__file__).resolve().parents[3]
# A directive of a Corefile -> the plugin's package where the name is another (upstream's plugin.cfg).
PACKAGES = {"prometheus": "metrics"}


def test_coredns_has_the_plugins_of_our_corefile_and_no_others() -> None:
    text = (ROOT / "templates" / "manifests" / "coredns.yaml.j2").read_text()
    block = text[text.index("    .:53 {"):text.index("---", text.index("    .:53 {"))]
    directives = set(re.findall(r"^ {8}([a-z0-9_]+)", block, re.M))
    assert {"kubernetes", "forward", "cache"} <= directives
    component = load_catalogue().components["coredns"]
    for version in component.versions:
        source = (component.module_dir(version) / "main.go").read_text()
        plugins = set(re.findall(r'_ "github\.com/coredns/coredns/plugin/([a-z0-9_]+)"', source))
        assert plugins == {PACKAGES.get(name, name) for name in directives}, version
