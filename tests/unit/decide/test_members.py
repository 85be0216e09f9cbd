"""Whether a member has lost what made it one, and whether its host may be given its place anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.decide.members import MemberData, judge
from provisioner.model.desired import EtcdMember
from provisioner.model.etcd import MemberSeen

CASES = yaml.safe_load((Path(__file__).resolve().parents[2] / "cases" / "members.yaml").read_text())
WANTED = tuple(EtcdMember(f"cp{n}", f"10.77.0.1{n}") for n in (1, 2, 3))
CURES = {"none": (False, False), "replace": (True, False), "reset": (True, True)}


def seen(name: str, last: int, number: str) -> MemberSeen:
    return MemberSeen(int(number, 16), name, (f"https://10.77.0.{last}:2380",))


@pytest.mark.parametrize("case", CASES, ids=[c["name"] for c in CASES])
def test_what_is_on_disk_and_who_the_others_know_say_whether_a_member_is_one(case: dict[str, Any]) -> None:
    others = [seen("cp1", 11, "a1"), seen("cp3", 13, "a3")]
    listed = {"nobody": None, "gone": others}.get(str(case["listed"]), [*others, seen(*case["listed"])]
                                                  if isinstance(case["listed"], list) else None)
    data = {"cp1": MemberData("there", "a1"), "cp3": MemberData("there", "a3")}
    if case["disk"] != "unseen":
        data["cp2"] = MemberData(*case["disk"])
    if "cp3" in case:
        del data["cp3"]
        data |= {"cp3": MemberData()} if case["cp3"] == "lost" else {}
    found = [f for f in judge(WANTED, data, listed, case.get("answering", 2)) if f.host == "cp2"]
    assert [(f.host, f.saw) for f in found] == ([("cp2", case["says"])] if case["says"] else [])
    assert [(f.is_replaced, f.moved) for f in found] == ([CURES[case["cure"]]] if case["says"] else [])
