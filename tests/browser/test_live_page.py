"""The page of `serve` in Debian's Chromium: it shows what it was given, as text, light and dark, narrow and wide."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from provisioner.report import serving as module
from provisioner.report.html import report_html
from provisioner.report.live import live_page
from provisioner.report.serving import Site, listener, serving
from tests.browser.test_report_page import CHROMIUM, DARK, FLAGS, LIGHT
from tests.unit.report.stories import ATTACK, recorded

pytestmark = [pytest.mark.timeout(600),
              pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; scripts/install --dev installs it")]
# Of all names and addresses only ours is found.
REACH = [flag for flag in FLAGS if not flag.startswith("--host-resolver")] + [
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
RUN = "20261129-100052-2c53"
# The page in frames of its own, one narrow and one wide, measured when it has shown what it asked for.
FRAMES = """<!doctype html><body style="margin:0">
<iframe src="/#TOKEN" width="420" height="2000"></iframe><iframe src="/#TOKEN" width="1200" height="2000"></iframe>
<script>
const seen = () => { document.body.dataset.seen = JSON.stringify([...document.querySelectorAll("iframe")].map(frame => {
  const page = frame.contentDocument, style = frame.contentWindow.getComputedStyle(page.body);
  return {width: page.documentElement.clientWidth, needs: page.documentElement.scrollWidth, ink: style.color,
    paper: style.backgroundColor, cut: [...page.querySelectorAll(".scroll")].filter(e => e.scrollWidth > e.clientWidth)
      .length, rows: page.querySelectorAll("#hosts tbody tr").length};
})); setTimeout(seen, 200); };
onload = seen;</script>"""


def state(evil: str = "") -> dict[str, Any]:
    """Return what the page is given of a cluster with a fault on two hosts; `evil` is added to what hosts say."""
    def host(name: str, roles: str, **more: Any) -> dict[str, Any]:
        return {"host": name, "roles": roles, "version": f"1.36.3{evil}", "api": "-", "etcd": "-", "kubelet": "Ready",
                "certs_days": 361, "drift": 0, "units_down": [], **more}

    def found(urgency: str, severity: str, host: str, saw: str, means: str, cure: str, **more: Any) -> dict[str, Any]:
        return {"urgency": urgency, "check": "unit", "host": host, "severity": severity, "saw": f"{saw}{evil}",
                "expected": "", "cure": f"{cure}{evil}", "code": "unit", "retry": True, "means": f"{means}{evil}",
                "also": [], **more}

    return {
        "looked": 1795946400.0, "error": "", "healthy": False, "seconds": 3.1, "cluster": "lab", "kubernetes": "1.36.3",
        "api": "10.77.0.10:8443", "vip_holder": "cp1", "quorum": "3 of 3, can lose 1",
        "snapshots": "newest 2 h ago, proved 2 h ago", "lock": "",
        "hosts": [host("cp1", "etcd cp lb", api="ok", etcd="leader 4.1 MB"),
                  host("cp2", "etcd cp lb", api="ok", etcd="member 4.1 MB"),
                  host("cp3", "etcd cp lb", api="ok", etcd="member 4.1 MB", drift=1),
                  host("w1", "worker", kubelet="NotReady", units_down=[f"kubelet.service{evil}"]),
                  host("w2", "worker", version="?", kubelet="?", certs_days=None, drift=None)],
        "findings": [
            found("now", "error", "w1", "kubelet.service is not running", "Pods of w1 are moved after five minutes.",
                  "kubewright logs w1 kubelet", also=[found("now", "error", "w1", "the Node is NotReady", "", "")]),
            found("soon", "warning", "cp3", "1 difference from the inventory", "", "kubewright plan")],
        "unseen": [found("", "unseen", "w2", "no answer", "", "")],
        "differences": ("  cp3\n    ~ /etc/haproxy/haproxy.cfg   maxconn 100 → 4000\n"
                        f"        -  maxconn 100{evil}\n        +  maxconn 4000"),
        "certificates": [
            {"host": "cp1", "path": "/etc/kubernetes/pki/apiserver.crt", "kind": "certificate", "state": "ok",
             "note": "", "not_after": "2027-11-29T10:00:00Z", "days_left": 361},
            {"host": "here", "path": "mine.kubeconfig", "kind": "kubeconfig", "state": "due",
             "note": f"ends soon{evil}", "not_after": "2026-12-29T10:00:00Z", "days_left": 30}],
        "present": f"Last run {RUN}   up by ann on desk   done   74s\nProber   none of 1,204 attempts failed{evil}",
        "runs": [{"id": RUN, "verb": "up", "who": f"ann{evil} on desk", "outcome": "done", "seconds": 74.2,
                  "changes": 14},
                 {"id": "20261128-091512-77aa", "verb": "upgrade", "who": "ann on desk", "outcome": "failed",
                  "seconds": 212.0, "changes": 40}]}


class Framed(Site):
    """The site with one page more, that shows it twice."""

    def answer(self, path: str, authorization: str) -> tuple[int, str, str]:
        if path == "/frames":
            return 200, "text/html", FRAMES.replace("TOKEN", self.token)
        return super().answer(path, authorization)


@contextmanager
def served(document: dict[str, Any]) -> Iterator[str]:
    site = Framed(lambda: document, {RUN: report_html(recorded("rolling-change"))}.get)
    with serving(site, listener(0)) as address:
        yield address


def chromium(address: str, home: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(CHROMIUM), *REACH, f"--user-data-dir={home / 'data'}", f"--log-net-log={home / 'net.json'}", *flags,
         address],
        capture_output=True, text=True, timeout=300, check=False, cwd=home,
        env={"HOME": str(home), "PATH": os.environ["PATH"], "DBUS_SESSION_BUS_ADDRESS": "disabled:"})
    assert done.returncode == 0, done.stderr
    return done


def dom(address: str, home: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return chromium(address, home, "--dump-dom", "--virtual-time-budget=3000", *flags)


def test_it_shows_what_it_was_given_and_says_nothing_on_the_console(tmp_path: Path) -> None:
    with served(state()) as address:
        done = dom(address, tmp_path)
    assert "<title>lab: needs attention</title>" in done.stdout
    for words in ("kubelet.service is not running", "Pods of w1 are moved", "10.77.0.10:8443", "mine.kubeconfig",
                  "none of 1,204 attempts failed", "maxconn 4000", "Not looked at: unit on w2"):
        assert words in done.stdout, words
    assert len(re.findall(r"<button>Report</button>", done.stdout)) == 2
    assert "CONSOLE" not in done.stderr, done.stderr
    log = json.loads((tmp_path / "net.json").read_text(encoding="utf-8"))
    kind = log["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    asked = {e["params"]["url"] for e in log["events"] if e["type"] == kind and e.get("params", {}).get("url")}
    base, _, token = address.partition("#")
    ours = {url.partition("#")[0] for url in asked if "127.0.0.1" in url}
    assert f"{base}state" in ours and not [url for url in asked if token in url.partition("#")[0]]
    assert ours <= {base, f"{base}state", f"{base}favicon.ico"}


def test_without_the_token_it_says_so_and_shows_nothing(tmp_path: Path) -> None:
    with served(state()) as address:
        done = dom(address.partition("#")[0] + "#wrong", tmp_path)
    assert "is not the one that was printed" in done.stdout and "10.77.0.10" not in done.stdout


def test_whatever_a_host_says_nothing_of_it_runs_or_is_loaded(tmp_path: Path) -> None:
    with served(state(ATTACK)) as address:
        done = dom(address, tmp_path)
    assert "kubelet.service is not running&lt;script&gt;" in done.stdout
    assert not re.search(r"<img|<script>document", done.stdout)
    assert "<title>lab: needs attention</title>" in done.stdout


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
def test_it_fits_a_narrow_and_a_wide_window_in_both_schemes(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setattr(module, "live_page", lambda: (live_page()[0], "frame-ancestors 'self'"))
    keep = os.environ.get("KUBEWRIGHT_TEST_SHOTS")
    with served(state()) as address:
        frames = address.partition("#")[0] + "frames"
        found = re.search(r'data-seen="([^"]*)"', dom(frames, tmp_path, scheme).stdout)
        if keep:
            shot = tmp_path / "shot.png"
            chromium(frames, tmp_path, f"--screenshot={shot}", "--window-size=1660,2020",
                     "--virtual-time-budget=3000", scheme)
            shutil.copy(shot, Path(keep) / f"live-{'light' if scheme == LIGHT else 'dark'}.png")
    assert found
    narrow, wide = json.loads(found[1].replace("&quot;", '"'))
    for seen in (narrow, wide):
        assert seen["rows"] == 5 and seen["needs"] <= seen["width"], "nothing scrolls sideways"
        assert seen["cut"] == 0, "and no table does in its frame"
    assert narrow["paper"] == ("rgb(255, 255, 255)" if scheme == LIGHT else "rgb(20, 23, 27)")
