"""What all lab tests share: their order, the clusters that they are given, and what is kept of a run."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab import clusters, durations, figures, selection
from tests.lab.machines import (  # noqa: F401 - tests import them from here
    LEADERS,
    NODES,
    ROOT,
    ROOTS,
    SHIPPED,
    UNITS,
    Lab,
    events_of,
    managed_mtimes,
    unit_ids,
    until,
)

if TYPE_CHECKING:
    from tests.lab.reissue import Reissue


PASSED = ROOT / ".kubewright" / "passed.json"
RESUMED = pytest.StashKey[selection.Passed]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("lab")
    group.addoption("--shard", metavar="I/N", help="only the lab tests of every Nth file, beginning with the Ith")
    group.addoption("--resume", action="store_true", help="not the lab tests that passed with --resume at this commit")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("resume", default=False):
        config.stash[RESUMED] = selection.Passed(PASSED, selection.state_of_code(ROOT))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sort the lab tests by what they need and leave, and take those away that another shard or run has."""
    ours = [item for item in items if item.path.is_relative_to(ROOT / "tests" / "lab")]
    gone: set[str] = set()
    if shard := config.getoption("shard", default=None):      # absent where this file is not loaded from the start
        try:
            files = selection.shard_files({str(item.path) for item in ours}, shard)
        except ValueError as fault:
            raise pytest.UsageError(str(fault)) from None
        gone |= {item.nodeid for item in ours if str(item.path) not in files}
    if RESUMED in config.stash:
        gone |= {item.nodeid for item in ours if item.nodeid in config.stash[RESUMED].tests}
    config.hook.pytest_deselected(items=[item for item in ours if item.nodeid in gone])
    kept = [item for item in items if item.nodeid not in gone]
    items[:] = sorted(kept, key=lambda item: selection.rank(
        clusters.topology_of(item), clusters.manners(item), tuple(clusters.TOPOLOGIES)))
    clusters.expect(items)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    clusters.prepare(item)


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember of each test whether it failed: only then its fixtures have to mend what it left."""
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    if report.when == "teardown":
        clusters.leave(item, failed=item.stash[FAILED])
        if RESUMED in item.config.stash and not item.stash[FAILED]:
            item.config.stash[RESUMED].add(item.nodeid)
    return report


@pytest.fixture
def has_failed(request: pytest.FixtureRequest) -> Callable[[], bool]:
    """Tells at the end of another fixture whether the test failed.

    A fixture and no function: pytest's own copy of this file, which has the hook, is another than the one that tests
    import.
    """
    return lambda: bool(request.node.stash.get(FAILED, False))


WHOLE = "lab and not full"      # what ./scripts/test runs, and what the ceiling of durations is about
REPETITIONS: list[dict[str, Any]] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep how long every test took, and the outcome of every repetition (`full`) for the record that is committed."""
    durations.note(report.nodeid, report.when or "", report.duration)
    if report.when == "call" and "full" in report.keywords and not report.skipped:
        REPETITIONS.append({"test": report.nodeid.removeprefix("tests/lab/"), "outcome": report.outcome,
                            "seconds": round(report.duration, 1), "load": round(os.getloadavg()[0], 1)})


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Take the clusters down, and write what the tests took and showed."""
    clusters.end()
    config = session.config
    asks_for_all = not config.option.keyword and config.args == ["tests/lab"]
    is_whole = asks_for_all and config.option.markexpr == WHOLE and not (
        config.getoption("shard", default=None) or RESUMED in config.stash)
    if durations.finish(ROOT, is_whole=is_whole) and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if RESUMED in config.stash and asks_for_all and exitstatus == pytest.ExitCode.OK:
        config.stash[RESUMED].forget()
    if REPETITIONS:
        _write_repetitions()


def _write_repetitions() -> None:
    """Write what repetitions showed into benchmarks/results/full.json; what did not run keeps its last result."""
    seen = {"commit": figures.commit(ROOT), "date": time.strftime("%Y-%m-%d", time.gmtime())}
    ran = {row["test"] for row in REPETITIONS}
    path = ROOT / "benchmarks" / "results" / "full.json"
    record: dict[str, Any] = {"command": "scripts/test --full", "depends_on": list(figures.DEPENDS_ON[path.name]),
                              "nproc": os.cpu_count(), "repetitions": [], "figures": []}
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    measured = [figure for figure in figures.FIGURES if figure["test"] in ran]
    for kind, rows in (("repetitions", REPETITIONS), ("figures", measured)):
        kept = [row for row in before.get(kind, ()) if row["test"] not in ran]
        record[kind] = sorted(kept + [{**row, **seen} for row in rows], key=lambda row: str(row["test"]))
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what was measured, also where a test failed for it, and what all tests took."""
    for line in durations.lines():
        terminalreporter.write_line(line)
    if figures.FIGURES:
        terminalreporter.section("measured")
        for figure in figures.FIGURES:
            terminalreporter.line(figures.line(figure))


@pytest.fixture(scope="session")
def empty_lab() -> Lab:
    """Booted nodes, empty as long as no test has built a cluster on them."""
    return clusters.ground("stacked").boot()


@pytest.fixture(scope="session")
def cluster() -> Lab:
    """A running, healthy cluster of three control planes and two workers."""
    return clusters.ground("stacked").lab


@pytest.fixture(scope="session")
def single() -> Lab:
    """A running, healthy cluster of one control plane and one worker."""
    return clusters.ground("single").lab


@pytest.fixture(scope="session")
def reissued(cluster: Lab, tmp_path_factory: pytest.TempPathFactory) -> Reissue:
    """What was seen of the session's one `up` that issues certificates anew and carries secrets."""
    from tests.lab.reissue import reissue  # it needs this file itself

    return reissue(cluster, tmp_path_factory.mktemp("reissue"))
