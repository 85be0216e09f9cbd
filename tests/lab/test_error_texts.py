"""What a person sees at 3 a.m.: what went wrong with a program of others, likely causes, what to type, its own words.

Each defect is one that the checks would name before; they are skipped, for it may come after them.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.lab.machines import Lab

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.dirties, pytest.mark.timeout(600)]
SKIPPED = ("ports", "services")
GATE_FAILED = 13


@dataclass(frozen=True)
class Defect:
    """Shell to cause it and to end it on w2, and lines that `up` must say."""

    name: str
    cause: str
    undo: str
    says: tuple[str, ...]


DROP_IN = "/etc/systemd/system/kubelet.service.d/99-theirs.conf"
DEFECTS = (
    Defect("a port that another process has",
           "systemctl stop kubelet; systemd-run --quiet --unit=squatter python3 -m http.server 10250; "
           "until ss -ltn | grep -q :10250; do sleep 0.1; done",
           "systemctl stop squatter",
           ("kubelet: another process already listens at its address",
            "likely: another program listens there; or an old process of the same unit still runs",
            "try: on w2, as root: ss -ltnp; then stop what has it", "w2: kubelet.service said last:",
            "bind: address already in use")),
    Defect("a program that is not there (203/EXEC)",
           f"systemctl stop kubelet; mkdir -p {DROP_IN.rpartition('/')[0]}; "
           f"printf '[Service]\\nExecStart=\\nExecStart=/opt/no/such\\n' > {DROP_IN}; systemctl daemon-reload",
           f"rm {DROP_IN}; systemctl daemon-reload",
           ("kubelet: /opt/no/such is not there, or the interpreter that it names",
            "likely: the file was removed; or its file system is not mounted; or it is a script",
            "on w2: ls -lL /opt/no/such",
            "Failed at step EXEC spawning /opt/no/such: No such file or directory")),
)


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_a_failure_has_headline_causes_what_to_type_and_the_words_below(cluster: Lab, defect: Defect) -> None:
    skips = [word for name in SKIPPED for word in ("--skip", name)]
    cluster.on("w2", "bash", "-c", defect.cause)
    try:
        done = cluster.run("up", "--yes", *skips, check=False, timeout=240)
    finally:
        cluster.on("w2", "bash", "-c", defect.undo)
    print(done.stderr)
    assert done.returncode == GATE_FAILED, done.stderr
    assert [line for line in defect.says if line not in done.stderr] == []
    cluster.run("up", "--yes", *skips)
