"""Who gives what to whom, played through without hosts: everybody ends with all that was planned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from provisioner.decide.spreading import FETCHES, FIRST, SMALL, UPLOADS, Spreading, worth
from provisioner.model.desired import Artifact
from provisioner.model.sharing import End, Fetch, Take, Wait

Fails = Callable[[str, str], bool]
"""Says whether a host's fetch from another fails."""


def artifact(name: str, size: int = 50 * SMALL) -> Artifact:
    return Artifact(path=f"/opt/{name}", phase="stage", sha256=f"of {name}", size=size, name=name, version="1")


LARGE = [artifact(f"large{n}", (20 + n) * SMALL) for n in range(12)]
TINY = [artifact(f"tiny{n}", 1000) for n in range(3)]


class Play:
    """Hosts that do what they are told, one act of each a round."""

    def __init__(self, wanted: dict[str, Sequence[Artifact]], closed: Sequence[str] = (),
                 fails: Fails = lambda host, giver: False) -> None:
        self.wanted, self.fails = wanted, fails
        self.floor = Spreading(wanted)
        self.has: dict[str, set[str]] = {host: set() for host in wanted}
        self.taken: Counter[str] = Counter()        # artifact -> times that it went out from here
        self.fetched = 0
        self.most = {"fetches": 0, "uploads": 0, "firsts": 0}
        self.under_way: list[tuple[str, Take | Fetch]] = []
        for number, host in enumerate(wanted):
            self.floor.listens(host, "10.0.0.1", None if host in closed else 1000 + number)

    def until_the_end(self) -> None:
        alive = set(self.wanted)
        for _ in range(10_000):
            alive = {host for host in alive if self._orders(host)}
            if not alive:
                assert not self.under_way
                return
            assert self.under_way, "everybody waits for somebody"
            self._happens(*self.under_way.pop(0))
        raise AssertionError("no end")

    def _orders(self, host: str) -> bool:
        while not isinstance(order := self.floor.next(host), Wait):
            if isinstance(order, End):
                return False
            self.under_way.append((host, order))
            if isinstance(order, Take):
                self.taken[order.item.name] += 1
            fetches = [(h, o.peer.name) for h, o in self.under_way if isinstance(o, Fetch)]
            self.most["fetches"] = max(self.most["fetches"], *Counter(h for h, _ in fetches).values(), 0)
            self.most["uploads"] = max(self.most["uploads"], *Counter(g for _, g in fetches).values(), 0)
            firsts = sum(isinstance(o, Take) and o.item.size >= SMALL for _, o in self.under_way)
            self.most["firsts"] = max(self.most["firsts"], firsts)
        return True

    def _happens(self, host: str, order: Take | Fetch) -> None:
        if isinstance(order, Fetch):
            assert order.item.sha256 in self.has[order.peer.name], "it is asked of one that has it"
            if self.fails(host, order.peer.name):
                assert self.floor.failed(host, order.item) == order.peer.name
                return
            self.fetched += 1
        self.has[host].add(order.item.sha256)
        assert self.floor.stored(host, order.item) == (order.peer.name if isinstance(order, Fetch) else None)

    @property
    def all_have_all(self) -> bool:
        return all(self.has[host] == {i.sha256 for i in items} for host, items in self.wanted.items())


@pytest.mark.parametrize("count", [2, 5, 20])
def test_large_files_go_out_once_however_many_hosts_there_are_and_small_ones_to_each(count: int) -> None:
    play = Play({f"h{n}": [*LARGE, *TINY] for n in range(count)})
    play.until_the_end()
    assert play.all_have_all
    assert {play.taken[i.name] for i in LARGE} == {1}
    assert {play.taken[i.name] for i in TINY} == {count}
    assert play.fetched == len(LARGE) * (count - 1)
    assert play.most["fetches"] <= FETCHES and play.most["uploads"] <= UPLOADS and play.most["firsts"] <= FIRST


def test_hosts_first_get_different_files() -> None:
    floor = Spreading({f"h{n}": LARGE for n in range(3)})
    for n in range(3):
        floor.listens(f"h{n}", "10.0.0.1", 1)
    first = [floor.next(f"h{n}") for n in range(3)]
    assert len({o.item.name for o in first if isinstance(o, Take)}) == 3


def test_what_one_host_alone_lacks_comes_from_here_and_is_not_worth_a_spreading() -> None:
    assert not worth({"a": LARGE[:6], "b": LARGE[6:]})
    assert not worth({"a": TINY, "b": TINY})
    assert not worth({"a": LARGE})
    assert worth({"a": LARGE[:2], "b": LARGE[1:]})
    play = Play({"a": LARGE[:2], "b": LARGE[1:3]})
    play.until_the_end()
    assert play.all_have_all and play.fetched == 1


def test_a_host_that_nobody_can_reach_others_from_gets_all_from_here_and_the_rest_goes_on_as_ever() -> None:
    play = Play({f"h{n}": LARGE for n in range(5)}, fails=lambda host, giver: host == "h4")
    play.until_the_end()
    assert play.all_have_all
    assert sum(play.taken.values()) <= 2 * len(LARGE), "once for h4, once for the others"


def test_where_no_host_reaches_any_other_all_comes_from_here() -> None:
    play = Play({f"h{n}": LARGE for n in range(4)}, fails=lambda host, giver: True)
    play.until_the_end()
    assert play.all_have_all and play.fetched == 0
    assert set(play.taken.values()) == {4}


def test_a_host_that_does_not_listen_gives_nothing_and_gets_from_others() -> None:
    play = Play({f"h{n}": LARGE for n in range(3)}, closed=["h0"])
    play.until_the_end()
    assert play.all_have_all and play.fetched > 0
    none = Play({f"h{n}": LARGE for n in range(3)}, closed=["h0", "h1", "h2"])
    none.until_the_end()
    assert none.all_have_all and set(none.taken.values()) == {3}


def test_nothing_is_told_to_a_host_before_it_says_whether_it_listens() -> None:
    floor = Spreading({"a": LARGE, "b": LARGE})
    assert isinstance(floor.next("a"), Wait)
    floor.listens("a", "10.0.0.1", 1)
    assert isinstance(floor.next("a"), Take)


def test_who_lied_once_is_asked_by_nobody_any_more() -> None:
    floor = Spreading({h: LARGE[:2] for h in "abc"})
    for h in "abc":
        floor.listens(h, "10.0.0.1", 1)
    order = floor.next("a")
    assert isinstance(order, Take)
    floor.stored("a", order.item)
    lied = floor.next("b")
    assert isinstance(lied, Fetch) and lied.peer.name == "a"
    assert floor.failed("b", lied.item, lied=True) == "a"
    for h in "bc":
        assert isinstance(floor.next(h), Take)


def test_what_a_host_refused_of_us_is_among_what_it_lacks_when_it_is_gone() -> None:
    floor = Spreading({h: LARGE[:2] for h in "ab"})
    floor.listens("a", "10.0.0.1", 1)
    order = floor.next("a")
    assert isinstance(order, Take)
    assert floor.failed("a", order.item) is None
    assert floor.gone("a") == LARGE[:2]


def test_what_was_on_its_way_to_a_host_that_is_gone_is_sent_to_another_and_nobody_waits_for_it() -> None:
    floor = Spreading({"a": LARGE[:1], "b": LARGE[:1]})
    for h in "ab":
        floor.listens(h, "10.0.0.1", 1)
    assert isinstance(floor.next("a"), Take)
    assert isinstance(floor.next("b"), Wait)
    assert floor.gone("a") == LARGE[:1]
    order = floor.next("b")
    assert isinstance(order, Take)
    floor.stored("b", order.item)
    assert isinstance(floor.next("b"), End)
    assert floor.gone("a") == []


def test_news_of_one_host_wake_a_few_of_those_that_wait_and_the_last_news_wake_all() -> None:
    wanted = {f"h{n}": LARGE[:1] for n in range(50)}
    floor = Spreading(wanted)
    for host in wanted:
        floor.listens(host, "10.0.0.1", 1)
    order = floor.next("h0")
    assert isinstance(order, Take)
    floor.stored("h0", order.item)
    assert floor.stirred("h0")[0] == "h0" and UPLOADS < len(floor.stirred("h0")) < 10
    for n in range(1, 50):
        floor.gone(f"h{n}")
    assert floor.stirred("h0") == ["h0"]
