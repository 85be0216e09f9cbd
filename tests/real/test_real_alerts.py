"""The alert rules of the how-to under Prometheus's own promtool: they load, fire when they should, and then alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import yaml

from tests.real.prometheus import ROOT, program

MONITORING = ROOT / "docs" / "how-to" / "monitoring"
CASES = ROOT / "tests" / "cases" / "alerts.yaml"


def promtool(*arguments: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program("promtool"), *arguments], cwd=cwd, capture_output=True, text=True, timeout=60,
                          check=False)


def test_the_rules_load() -> None:
    done = promtool("check", "rules", MONITORING / "rules.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_both_configurations_load_with_files_where_the_how_to_puts_them(tmp_path: Path) -> None:
    for name in ("prometheus.yml", "agent.yml", "rules.yml"):
        (tmp_path / name).write_bytes((MONITORING / name).read_bytes())
    for name in ("token", "ca.crt", "etcd-ca.crt", "etcd.crt", "etcd.key"):
        (tmp_path / name).write_text("not read here\n")
    for name, agent in (("prometheus.yml", []), ("agent.yml", ["--agent"])):
        done = promtool("check", "config", "--syntax-only", *agent, name, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_fires_on_what_it_is_for_and_a_healthy_cluster_fires_none() -> None:
    done = promtool("test", "rules", CASES)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_among_the_cases() -> None:
    rules = [rule["alert"] for group in yaml.safe_load((MONITORING / "rules.yml").read_text())["groups"]
             for rule in group["rules"]]
    assert [name for name in rules if name not in CASES.read_text()] == []
