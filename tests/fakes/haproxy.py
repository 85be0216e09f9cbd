"""A HAProxy's runtime socket in memory: the words that provisioner/operate/haproxy.py says, and the answers to them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

NAMES = ("be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight "
         "srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state "
         "srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port")
BITS = {"ready": 0, "drain": 8, "maint": 1}
_SET = re.compile(r"set server apiservers/(\S+) state (ready|drain|maint)")


@dataclass
class FakeBalancer:
    """One host's HAProxy; `is_up` says what its checks of an API server find, `late` is who still comes when asked."""

    is_up: Callable[[str], bool]
    states: dict[str, str] = field(default_factory=lambda: dict.fromkeys(("cp1", "cp2", "cp3"), "ready"))
    late: dict[str, int] = field(default_factory=dict)      # server -> looks at the counters in which it still grows
    totals: dict[str, int] = field(default_factory=dict)

    def rounds(self, lines: Sequence[str], again: Sequence[str], until: Sequence[str], at_most: int) -> list[list[str]]:
        """Answer round after round as the applier hands them over."""
        found = [[self.answer(line) for line in lines]]
        while len(found) < at_most and not (until and all(re.search(p, "\n".join(found[-1]), re.M) for p in until)):
            found.append([self.answer(line) for line in again])
        return found

    def answer(self, line: str) -> str:
        """Answer one line as HAProxy 2.6 does."""
        found = _SET.fullmatch(line)
        if found:
            if found[1] not in self.states:
                return "No such server.\n\n"
            self.states[found[1]] = found[2]
            return "\n"
        return {"show servers state apiservers": self._states, "show stat -1 4 -1": self._totals}[line]()

    def _states(self) -> str:
        rows = [f"3 apiservers {n} {name} 10.77.0.1{n} {2 if self.is_up(name) else 0} {BITS[state]} 1 1 9 15 3 4 6 "
                f"0 0 0 - 6443" for n, (name, state) in enumerate(self.states.items(), 1)]
        return "\n".join(["1", f"# {NAMES}", *rows, "", ""])

    def _totals(self) -> str:
        rows = []
        for name in self.states:
            if self.late.get(name, 0) > 0:
                self.late[name] -= 1
                self.totals[name] = self.totals.get(name, 0) + 1
            rows.append(f"apiservers,{name},0,0,0,3,,{self.totals.get(name, 0)},0,0")
        return "\n".join(["# pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout", *rows, "", ""])
