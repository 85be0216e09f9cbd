"""Why a unit does not do what it should, for the person who is woken by it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from provisioner.errors import GateFailed, Unreachable
from provisioner.operate import logs
from provisioner.orchestrate.gates import last_words, proofs
from provisioner.orchestrate.plan.survey import survey
from provisioner.transport.hosts import OneHost, Take
from tests.fakes.session import World

TAKEN = 'listen tcp 10.77.0.11:2379: bind: address already in use'


def journal_of(monkeypatch: pytest.MonkeyPatch, built: World, *lines: str) -> list[Mapping[str, Any]]:
    asked: list[Mapping[str, Any]] = []

    def journal(one: OneHost, request: Mapping[str, Any], take: Take) -> dict[str, Any]:
        asked.append(request)
        for line in lines:
            who, _, words = line.partition(": ") if line.startswith("systemd: ") else ("etcd", "", line)
            take({"__REALTIME_TIMESTAMP": "1", "SYSLOG_IDENTIFIER": who, "MESSAGE": words})
        return {"ended": True}

    monkeypatch.setattr(built.hosts, "journal", journal)
    return asked


def words_of(built: World, unit: str = "etcd.service") -> Iterator[str]:
    yield from last_words.of_unit(built.hosts.on("cp1"), unit)


def test_known_words_come_with_headline_causes_and_what_to_type_and_stand_below(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = journal_of(monkeypatch, built, "starting", TAKEN, "etcd.service: Failed with result 'exit-code'.")
    assert list(words_of(built)) == [
        "cp1: etcd: another process already listens at its address 10.77.0.11:2379",
        "likely: another program listens there; or an old process of the same unit still runs",
        "try: on cp1, as root: ss -ltnp; then stop what has it",
        "cp1: etcd.service said last:",
        "    starting", f"    {TAKEN}", "    etcd.service: Failed with result 'exit-code'."]
    assert [(one["unit"], one["follow"]) for one in asked] == [("etcd.service", False)]


def test_a_line_further_up_that_was_understood_is_shown_too(built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    journal_of(monkeypatch, built, TAKEN, *(f"closing {number}" for number in range(20)))
    words = list(words_of(built))
    assert words[4:6] == [f"    {TAKEN}", "    closing 12"]
    assert words[-1] == "    closing 19"


def test_where_the_start_before_is_further_up_than_anybody_reads_all_words_count(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    journal_of(monkeypatch, built, *(f"      --flag-{n}" for n in range(30)), "Error: unknown flag: --gone",
               "systemd: etcd.service: Failed with result 'exit-code'.", "systemd: Starting etcd.service - etcd...")
    assert "    Error: unknown flag: --gone" in list(words_of(built))


@pytest.mark.parametrize("again", [(), ("systemd: etcd.service: Failed.", "systemd: Starting etcd.service - etcd...")])
def test_what_was_said_before_it_stopped_for_the_change_does_not_count(
        built: World, monkeypatch: pytest.MonkeyPatch, again: tuple[str, ...]) -> None:
    journal_of(monkeypatch, built, "of the old one", "systemd: Stopping etcd.service - etcd...", "its last",
               "systemd: Starting etcd.service - etcd...", "of the new one", *again)
    words = list(words_of(built))
    assert "    of the new one" in words and not {"    of the old one", "    its last"} & set(words)


def test_unknown_words_are_shown_whole(built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    journal_of(monkeypatch, built, "x" * 5000)
    assert list(words_of(built)) == ["cp1: etcd.service said last:", "    " + "x" * 5000]


def test_a_unit_that_said_nothing_is_told_so_and_a_host_that_is_gone_is_told_elsewhere(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    journal_of(monkeypatch, built)
    assert list(words_of(built)) == ["cp1: etcd.service said nothing"]

    def gone(one: OneHost, request: Mapping[str, Any], take: Take) -> dict[str, Any]:
        raise Unreachable("cp1: connecting: no answer")

    monkeypatch.setattr(built.hosts, "journal", gone)
    assert list(words_of(built)) == []


def test_a_shut_gate_brings_the_last_words_of_the_unit_that_it_blames(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    journal_of(monkeypatch, built, "running with swap on is not supported, please disable swap")
    built.hosts.broken = {"kubelet.service": "activating (auto-restart): exited 2 times, it does not stay up"}
    session = built.session()
    survey(session)
    with pytest.raises(GateFailed) as fault:
        proofs.phase_holds(session, "node", ["w1"])
    assert fault.value.details[:3] == (
        "w1: kubelet: the kubelet does not run with swap",
        "likely: swap was turned on again, by a unit or /etc/fstab",
        "try: on w1, as root: swapoff -a; then kubewright up")
    assert fault.value.hint == "kubewright logs w1 kubelet"


def line(process: str, message: str) -> logs.Line:
    return logs.Line(1.0, process, 1, 6, message)


@pytest.mark.parametrize(("said", "shown"), [
    ([], []),
    ([line("x", "a"), line("systemd", "Stopped x")], ["a", "Stopped x"]),
    ([line("x", "bye"), line("systemd", "Starting x"), line("x", "bad"), line("systemd", "Starting x")],
     ["Starting x", "bad", "Starting x"]),
    ([line("x", "bye"), line("systemd", "Starting x"), line("x", "bad")], ["Starting x", "bad"]),
    ([line("x", "bye"), line("systemd", "Starting x"), line("systemd", "x: Main process exited, status=1")],
     ["Starting x", "x: Main process exited, status=1"]),
    # journald wrote what the program said down after what systemd said of its end
    ([line("x", "bye"), line("systemd", "Stopping x"), line("systemd", "Starting x"), line("systemd", "x: Failed"),
      line("x", "bad"), line("systemd", "Starting x"), line("systemd", "Starting x")],
     ["Starting x", "x: Failed", "bad", "Starting x", "Starting x"]),
    ([line("systemd", "Starting x"), line("x", "hello"), line("systemd", "Stopping x"), line("x", "bye"),
      line("systemd", "Starting x"), line("x", "bad")], ["Starting x", "bad"]),
])
def test_what_a_unit_said_is_from_its_last_starts_and_never_the_farewell_of_what_ran_before(
        said: list[logs.Line], shown: list[str]) -> None:
    assert [one.message for one in last_words._since_it_failed(said)] == shown
