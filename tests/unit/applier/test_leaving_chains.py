"""Chains that services leave in iptables and nft: what is taken away, by what the tools were seen to say on nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from provisioner.applier import leavings, states
from provisioner.applier.host import Fault, Host
from tests.unit.applier.support import FakeHost
from tests.unit.applier.test_abilities import answers

# iptables-save of a node of Debian 11 with ufw, shortened.
SAVED = """*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:KUBE-FIREWALL - [0:0]
:KUBEWRIGHT-IN - [0:0]
:ufw-before-input - [0:0]
-A INPUT -m comment --comment "kubewright ab7f6a6bb2ef" -j KUBEWRIGHT-IN
-A INPUT -j KUBE-FIREWALL
-A INPUT -j ufw-before-input
-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -j DROP
-A KUBEWRIGHT-IN -s 10.77.0.0/24 -p tcp -m tcp --dport 2380 -j ACCEPT
-A ufw-before-input -i lo -j ACCEPT
COMMIT""".splitlines()


def chain(name: str, table: str = "filter", family: str = "inet", **more: object) -> dict[str, object]:
    return {"chain": {"family": family, "table": table, "name": name, **more}}


def rule(of: str, handle: int, *expr: dict[str, object], table: str = "filter", family: str = "inet",
         ) -> dict[str, object]:
    return {"rule": {"family": family, "table": table, "chain": of, "handle": handle, "expr": list(expr)}}


def table(name: str, family: str = "ip") -> dict[str, object]:
    return {"table": {"family": family, "name": name}}


def test_calls_go_before_what_they_call_and_rules_of_others_stay() -> None:
    assert leavings.without_chains(SAVED, {"KUBE-FIREWALL"}) == [
        "-D INPUT -j KUBE-FIREWALL", "-F KUBE-FIREWALL", "-X KUBE-FIREWALL"]
    assert leavings.without_chains(SAVED, {"KUBEWRIGHT-IN"}) == [
        '-D INPUT -m comment --comment "kubewright ab7f6a6bb2ef" -j KUBEWRIGHT-IN',
        "-F KUBEWRIGHT-IN", "-X KUBEWRIGHT-IN"]


def test_rules_of_nft_are_taken_by_their_handles() -> None:
    listed = [chain("input", policy="drop"), chain("kubewright-in"),
              rule("input", 7, {"jump": {"target": "kubewright-in"}}), rule("input", 8, {"accept": None}),
              rule("kubewright-in", 9, {"accept": None})]
    assert leavings.without_named(listed, "kubewright-") == [
        "delete rule inet filter input handle 7", "flush chain inet filter kubewright-in",
        "delete chain inet filter kubewright-in"]


def test_only_tables_of_iptables_in_which_nothing_is_said_are_idle() -> None:
    listed = [table("filter"), table("nat"), table("mangle"), table("filter", "inet"), table("own"),
              chain("INPUT", "filter", "ip", policy="drop"), chain("PREROUTING", "nat", "ip", policy="accept"),
              chain("OUTPUT", "mangle", "ip", policy="accept"),
              rule("OUTPUT", 3, {"accept": None}, table="mangle", family="ip")]
    assert leavings.idle(listed) == [("ip", "nat")]
    assert leavings.idle([*listed, chain("DOCKER", "nat", "ip")]) == [], "a chain of somebody's, if without a rule"


@pytest.mark.parametrize(("told", "is_there"), [
    ({}, False), ({"ip6tables-save": "*filter\n:INPUT ACCEPT [0:0]\n:KUBE-LOST - [0:0]\nCOMMIT"}, True),
    ({"nft": '{"nftables": [{"chain": {"family": "ip", "table": "nat", "name": "KUBE-SVC"}}]}'}, True)])
def test_each_tool_that_is_there_is_asked(
        box: FakeHost, monkeypatch: pytest.MonkeyPatch, told: dict[str, str], is_there: bool) -> None:
    answers(box, monkeypatch, told)
    assert leavings.chains(box.host, "KUBE-") == (leavings.THERE if is_there else leavings.ABSENT)


@pytest.mark.parametrize(("tool", "look"), [
    *((tool, lambda host: leavings.chains(host, "KUBE-")) for tool in ("iptables-save", "ip6tables-save", "nft")),
    ("nft", lambda host: leavings.nft(host, "ip kube-proxy"))])
def test_a_tool_that_fails_over_something_that_it_has_not_found_is_no_tool_that_is_not_there(
        box: FakeHost, monkeypatch: pytest.MonkeyPatch, tool: str, look: Callable[[Host], str]) -> None:
    answers(box, monkeypatch, {tool: "exit 127: libxtables.so.12: not found"})
    with pytest.raises(Fault, match="not found"):
        look(box.host)


def test_one_look_starts_each_tool_once_however_many_tables_and_chains_it_is_about(
        box: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def run(argv: Sequence[str], **_: object) -> str:
        ran.append(" ".join(argv))
        return "table ip kube-proxy"

    monkeypatch.setattr(box.host, "run", run)
    look = states.Look(box.host)
    wanted = {"ip kube-proxy": leavings.THERE, "ip6 kube-proxy": leavings.ABSENT, "ip flannel-ipv4": leavings.ABSENT}
    assert {name: look.see({"kind": "nft", "path": name})[0] for name in wanted} == wanted
    assert ran == ["nft list tables"]
    assert states.Look(box.host).see({"kind": "nft", "path": "ip kube-proxy"})[0] == leavings.THERE
    assert ran == ["nft list tables"] * 2, "the next look is a new one"
