"""The registry: order, limits, and parts that misbehave."""

from __future__ import annotations

import gc
import sys
import threading
import time
from typing import Any, Optional

import pytest
from conftest import Eventually

from headroom_kit import BusyError, Part, PartOutcome, Reclaimer, UnknownKindError, Urgency
from headroom_kit.reclaim import PARTS_MAX


class Holder(Part):
    """Holds a number of bytes that it pretends to have."""

    def __init__(self, name: str, held: int, cost: float = 50.0, kind: str = "drop_caches") -> None:
        super().__init__(name, kind, cost)
        self.held = held
        self.asked: list[tuple[int, Urgency]] = []

    def held_bytes(self) -> Optional[int]:
        return self.held

    def reclaim(self, target_bytes: int, urgency: Urgency) -> int:
        self.asked.append((target_bytes, urgency))
        released = self.held if urgency == "high" else min(self.held, target_bytes)
        self.held -= released
        return released


class Finisher(Holder):
    finishes = True


def test_the_cheapest_is_asked_first_and_no_more_than_is_needed(reclaimer: Reclaimer) -> None:
    dear, cheap, middle = Holder("dear", 100, 90), Holder("cheap", 100, 10), Holder("middle", 100, 50)
    for part in (dear, cheap, middle):
        reclaimer.add(part)
    outcome = reclaimer.reclaim(130)
    assert outcome.released_bytes == 130
    assert [(p.name, p.released_bytes) for p in outcome.parts] == [("cheap", 100), ("middle", 30)]
    assert middle.asked == [(30, "low")]
    assert dear.asked == []
    assert reclaimer.held_bytes() == 170


def test_at_high_all_are_asked_whatever_the_target(reclaimer: Reclaimer) -> None:
    parts = [Holder(str(n), 100) for n in range(3)]
    for part in parts:
        reclaimer.add(part)
    assert reclaimer.reclaim(50, "high").released_bytes == 300
    # Again: what is released already is no error.
    assert reclaimer.reclaim(50, "high").released_bytes == 0


def test_an_exception_in_one_never_stops_the_others(reclaimer: Reclaimer) -> None:
    def fails(_target: int, _urgency: Urgency) -> int:
        raise RuntimeError("out of order")

    def leaves(_target: int, _urgency: Urgency) -> int:
        sys.exit(3)

    reclaimer.register("fails", fails, cost=1)
    reclaimer.register("leaves", leaves, cost=2)
    reclaimer.add(Holder("good", 10, 3))
    outcome = reclaimer.reclaim(10)
    assert outcome.released_bytes == 10
    assert [p.ending for p in outcome.parts] == ["failed", "failed", "ok"]
    assert outcome.parts[0].error == "RuntimeError: out of order"


@pytest.mark.parametrize("lie", [-1, True, None, "much", 1.5])
def test_what_is_no_number_of_bytes_is_a_failure(reclaimer: Reclaimer, lie: Any) -> None:
    reclaimer.register("liar", lambda _target, _urgency: lie)
    outcome = reclaimer.reclaim(10)
    assert (outcome.released_bytes, outcome.parts[0].ending) == (0, "failed")


def test_a_part_that_hangs_costs_its_share_of_the_time_and_is_left_alone_until_it_is_back(
    reclaimer: Reclaimer, eventually: Eventually
) -> None:
    free = threading.Event()
    calls = []

    def hangs(_target: int, _urgency: Urgency) -> int:
        calls.append(1)
        free.wait()
        return 7

    reclaimer.register("hangs", hangs, cost=1)
    reclaimer.add(Holder("good", 100, 2))
    begun = time.monotonic()
    outcome = reclaimer.reclaim(10, timeout=1.0)
    assert [p.ending for p in outcome.parts] == ["late", "ok"]
    assert outcome.released_bytes == 10
    assert time.monotonic() - begun >= 0.4
    assert [p.ending for p in reclaimer.reclaim(10).parts] == ["busy", "ok"]
    assert len(calls) == 1
    free.set()
    eventually("it is asked again", lambda: reclaimer.reclaim(5).parts[0].ending == "ok")


def test_the_time_is_over_for_all_when_it_is_over(reclaimer: Reclaimer) -> None:
    parts = [Holder(str(n), 100) for n in range(3)]
    for part in parts:
        reclaimer.add(part)
    outcome = reclaimer.reclaim(300, timeout=0.0)
    assert [p.ending for p in outcome.parts] == ["no_time"] * 3
    assert all(part.held == 100 for part in parts)


def test_one_reclaim_at_a_time_and_nobody_waits_for_ever(reclaimer: Reclaimer) -> None:
    inside, free = threading.Event(), threading.Event()

    def slow(_target: int, _urgency: Urgency) -> int:
        inside.set()
        free.wait(30)
        return 1

    reclaimer.register("slow", slow)
    first = threading.Thread(target=reclaimer.reclaim, args=(1,), kwargs={"timeout": 30.0})
    first.start()
    assert inside.wait(30)
    with pytest.raises(BusyError):
        reclaimer.reclaim(1, timeout=0.05)
    free.set()
    first.join(30)
    assert not first.is_alive()


def test_a_kind_chooses_its_parts_and_the_allocator(reclaimer: Reclaimer) -> None:
    cache, model, trim = Holder("c", 10), Holder("m", 10, kind="unload_models"), Finisher("t", 0, kind="trim")
    for part in (trim, cache, model):
        reclaimer.add(part)
    outcome = reclaimer.reclaim(10, kind="unload_models")
    assert [p.name for p in outcome.parts] == ["m", "t"]
    with pytest.raises(UnknownKindError, match="there are: drop_caches, trim, unload_models"):
        reclaimer.reclaim(10, kind="gc")


def test_finishers_run_last_and_the_same_bytes_are_not_counted_twice(reclaimer: Reclaimer) -> None:
    reclaimer.add(Finisher("trim", 60, cost=0))
    reclaimer.add(Holder("cache", 100, cost=90))
    outcome = reclaimer.reclaim(80, "high")
    assert [p.name for p in outcome.parts] == ["cache", "trim"]
    assert outcome.released_bytes == 100
    reclaimer.add(Finisher("other", 500, cost=0))
    assert reclaimer.reclaim(80, "high").released_bytes == 500


def test_who_does_not_say_what_it_holds_is_absent_not_zero(reclaimer: Reclaimer) -> None:
    free = threading.Event()
    calls = []

    def fails() -> int:
        raise RuntimeError("out of order")

    def hangs() -> int:
        calls.append(1)
        free.wait(60)
        return 1

    reclaimer.register("hangs", lambda _t, _u: 0, hangs, cost=1)
    reclaimer.register("fails", lambda _t, _u: 0, fails, cost=2)
    reclaimer.register("silent", lambda _t, _u: 0, cost=3)
    reclaimer.add(Holder("good", 5, cost=4))
    begun = time.monotonic()
    assert [s.held_bytes for s in reclaimer.state()] == [None, None, None, 5]
    # The second look does not wait for who is away.
    assert reclaimer.held_bytes() == 5
    assert len(calls) == 1
    free.set()
    assert time.monotonic() - begun < 30


def test_a_weakly_registered_part_goes_with_its_owner_and_its_counts_stay(reclaimer: Reclaimer) -> None:
    part = Holder("brief", 10)
    reclaimer.add(part, weak=True)
    reclaimer.reclaim(4)
    del part
    gc.collect()
    assert reclaimer.parts() == []
    assert reclaimer.totals()[("brief", "drop_caches")].released_bytes == 4


def test_there_is_a_limit_of_parts_and_removal_makes_room(reclaimer: Reclaimer) -> None:
    parts = [Holder(str(n), 0) for n in range(PARTS_MAX)]
    for part in parts:
        reclaimer.add(part)
    with pytest.raises(ValueError, match="already"):
        reclaimer.add(Holder("more", 0))
    reclaimer.remove(parts[0])
    reclaimer.remove(parts[0])
    reclaimer.add(Holder("more", 0))


def test_wrong_requests_are_refused_and_ask_nobody(reclaimer: Reclaimer) -> None:
    part = Holder("p", 10)
    reclaimer.add(part)
    with pytest.raises(ValueError, match="urgency"):
        reclaimer.reclaim(1, "extreme")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        reclaimer.reclaim("1")  # type: ignore[arg-type]
    assert part.asked == []
    for name in ("", "x" * 65, "a\nb"):
        with pytest.raises(ValueError, match="wanted 1 to"):
            reclaimer.register(name, lambda _t, _u: 0)


def test_counts_and_listeners(reclaimer: Reclaimer) -> None:
    def ill(_outcome: PartOutcome) -> None:
        raise RuntimeError("out of order")

    heard: list[PartOutcome] = []
    reclaimer.listen(heard.append)
    reclaimer.listen(ill)
    reclaimer.add(Holder("a", 10))
    reclaimer.reclaim(4)
    reclaimer.reclaim(4, origin="http")
    totals = reclaimer.totals()[("a", "drop_caches")]
    assert (totals.released_bytes, totals.calls) == (8, {"ok": 2})
    assert reclaimer.requests() == {"call": 1, "http": 1}
    assert [o.released_bytes for o in heard] == [4, 4]


def test_many_threads_register_look_and_reclaim_at_once(reclaimer: Reclaimer) -> None:
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(30):
                part = Holder(f"{number}", 3)
                reclaimer.add(part, weak=turn % 2 == 0)
                reclaimer.state()
                reclaimer.reclaim(5, timeout=60.0)
                reclaimer.remove(part)
        except BaseException as error:  # noqa: BLE001 - it is to be seen in the main thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert errors == []
    assert reclaimer.parts() == []
    assert sum(t.calls.get("ok", 0) for t in reclaimer.totals().values()) >= 8 * 30


def test_no_thread_stays_behind(reclaimer: Reclaimer, eventually: Eventually) -> None:
    reclaimer.add(Holder("a", 10))
    before = threading.active_count()
    for _ in range(20):
        reclaimer.state()
        reclaimer.reclaim(1)
    eventually("the threads have ended", lambda: threading.active_count() <= before)


class Equal(Holder):
    """Equal to all others, and so without a hash."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Holder)

    __hash__ = None  # type: ignore[assignment]


def test_a_part_is_itself_whatever_it_equals(reclaimer: Reclaimer) -> None:
    parts = [Equal("a", 10, cost=1), Equal("b", 20, cost=2), Holder("c", 30, cost=3)]
    for part in parts:
        reclaimer.add(part)
    assert [state.held_bytes for state in reclaimer.state()] == [10, 20, 30]
    assert reclaimer.reclaim(1, "high").released_bytes == 60
    reclaimer.remove(parts[0])
    assert reclaimer.parts() == parts[1:]


def test_a_part_without_a_hash_that_hangs_is_not_asked_again(reclaimer: Reclaimer) -> None:
    back = threading.Event()

    class Hanging(Equal):
        def reclaim(self, target_bytes: int, urgency: Urgency) -> int:
            back.wait(30)
            return super().reclaim(target_bytes, urgency)

    reclaimer.add(Hanging("a", 10, cost=1))
    reclaimer.add(Equal("b", 20, cost=2))
    endings = [[p.ending for p in reclaimer.reclaim(1, "high", timeout=0.5).parts] for _ in range(2)]
    back.set()
    assert endings == [["late", "ok"], ["busy", "ok"]]
