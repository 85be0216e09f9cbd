"""docs/how-to/look-through-a-dashboard.md on nodes: its manifest around another web server, and who may what."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.lab.machines import ROOT, Lab

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.timeout(600)]
PAGE = (ROOT / "docs" / "how-to" / "look-through-a-dashboard.md").read_text(encoding="utf-8")
IMAGE = re.compile(r"image: ghcr.io/headlamp-k8s/headlamp:\S+\n +args: .*\n")
# Headlamp's image is not to be had here; this one answers at the same port, as the same user.
STAND_IN = """image: kubewright.local/busybox:1
          imagePullPolicy: Never
          command: [sh, -c, "while :; do printf 'HTTP/1.0 200 OK\\r\\nContent-Length: 7\\r\\n\\r\\na page\\n'
                    | nc -l -p 4466 > /dev/null; done"]
"""


def calls(heading: str) -> list[list[str]]:
    """Return what the page types at kubectl below a heading."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for block in re.findall(r"```sh\n(.*?)```", section, re.DOTALL) for line in block.splitlines()]
    words = [shlex.split(line, comments=True) for line in lines if line.startswith("kubectl ")]
    assert words and all(w[1:3] == ["--kubeconfig", "admin.conf"] for w in words)
    return [w[3:] for w in words]


def answered(lab: Lab, token: str, resource: str) -> str:
    """Return the status with which the API answers somebody who has nothing but a token."""
    return lab.on("cp1", "curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "-H", f"Authorization: Bearer {token}",
                  f"https://10.77.0.10:8443/api/v1/{resource}")


def test_the_dashboard_has_no_rights_and_who_looks_has_those_of_the_token(cluster: Lab) -> None:
    manifest, times = IMAGE.subn(lambda _: STAND_IN, PAGE.partition("```yaml\n")[2].partition("```")[0])
    assert times == 1, "the image is no more where it was on the page"
    cluster.kubectl("apply", "-f", "-", stdin=manifest)
    try:
        told = cluster.kubectl("-n", "headlamp", "rollout", "status", "deployment/headlamp", "--timeout=200s",
                               check=False, timeout=230)
        assert "successfully rolled out" in told, cluster.kubectl("-n", "headlamp", "describe", "replicasets,pods")
        assert cluster.kubectl("get", "--raw", "/api/v1/namespaces/headlamp/services/headlamp:80/proxy/") == "a page\n"
        *_, theirs = (cluster.kubectl(*words).strip() for words in calls("Let somebody look")[:5])
        seen = {what: answered(cluster, theirs, what) for what in ("pods", "nodes", "namespaces", "secrets")}
        assert seen == {"pods": "200", "nodes": "200", "namespaces": "200", "secrets": "403"}
        assert cluster.kubectl(*calls("Let somebody look")[5], check=False).strip() == "no"
        of_its_own = cluster.kubectl("-n", "headlamp", "create", "token", "headlamp").strip()
        assert answered(cluster, of_its_own, "pods") == "403"
    finally:
        for words in calls("Take it away"):
            cluster.kubectl(*words, "--ignore-not-found")
