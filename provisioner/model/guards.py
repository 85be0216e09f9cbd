"""What is held on a live cluster while hosts change, from before the first change to after the proof: names and words.

decide/turns.py says when, orchestrate/turn/guards.py does it, the plan and its impact tell it.
"""

from __future__ import annotations

from collections.abc import Mapping

OUT_OF_SERVICE = "out-of-service"       # no HAProxy sends the host's API server anybody, and all others are ready
LEADS_ELSEWHERE = "leads-elsewhere"     # another etcd member leads, and all others serve
OTHERS_BALANCE = "others-balance"       # the API is reached through every other balancer, and at the VIP
VIP_LEAVES = "vip-leaves"               # what came to the VIP is answered before the host gives it up
DRAINED = "drained"                     # the host's Pods have left, and it takes none

# Guard -> what a person reads of it; in the order in which they are entered.
WORDS: Mapping[str, str] = {
    DRAINED: "drained: its Pods leave before, as their budgets allow, and it takes Pods again when it is proved",
    OUT_OF_SERVICE: "out of every HAProxy meanwhile",
    LEADS_ELSEWHERE: "another member leads",
    OTHERS_BALANCE: "while all others lead to the API",
    VIP_LEAVES: "no new connection at the VIP there for a second before",
}
