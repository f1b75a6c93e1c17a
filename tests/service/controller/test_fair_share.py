"""The policy of the queue, in simulated seconds: limits, shares, priority, preemption, and that nothing starves."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.controller.fair_share import FairShare, OwnerRules, QueuedSweep, QueueRules
from service.controller.node import Needs, Node
from service.controller.node_room import OpenPack
from tests.service.controller.simulated_queue import PAUSE_SECONDS, SimulatedQueue, Work

CPU, GPU = Needs(), Needs(gpus=1.0)
RULES = QueueRules(aging_seconds=60.0, preempt_after_seconds=5.0)


def node(cpus: float = 1.0, gpus: float = 0.0, name: str = "n", **more: object) -> Node:
    return Node(name, cpus, gpus, **more)  # type: ignore[arg-type]


def pack(id: str, sweep: str, needs: Needs = CPU, **more: object) -> OpenPack:
    facts = {"owner": "local", "priority": 0, "node": "n"} | more
    return OpenPack(id, sweep, needs=needs, **facts)  # type: ignore[arg-type]


def decide(
    nodes: Sequence[Node],
    packs: Sequence[OpenPack],
    queue: Sequence[QueuedSweep],
    owners: dict[str, OwnerRules] | None = None,
    now: float = 0.0,
) -> tuple[list[str], list[str], FairShare]:
    """Which sweeps start a pack, in order, if each has one trial a pack and no end of them, and what is preempted."""
    decision = FairShare(nodes, packs, queue, owners or {}, RULES, now)
    started, preempted = [], []
    while (turn := decision.turn()) is not None:
        if turn.node is None:
            preempted += [victim.id for victim in decision.wait(turn, 1)]
        else:
            started.append(turn.sweep.id)
            decision.start(turn, 1)
    return started, preempted, decision


def test_the_highest_priority_starts_first_and_then_the_oldest() -> None:
    queue = [
        QueuedSweep("low", since=0),
        QueuedSweep("new", priority=3, since=9),
        QueuedSweep("old", priority=3, since=8),
    ]
    started, _, decision = decide([node(1)], [], queue, now=10)
    assert started == ["old"]
    assert list(decision.waiting) == ["new", "old", "low"], "the order in which they come next"


def test_sweeps_of_one_owner_share_the_cluster_evenly() -> None:
    queue = [QueuedSweep("many", since=0), QueuedSweep("few", since=5)]
    started, _, _ = decide([node(4)], [], queue)
    assert sorted(started) == ["few", "few", "many", "many"]


def test_two_trials_do_not_wait_behind_all_of_a_sweep_that_came_first() -> None:
    many = Work(QueuedSweep("many"), 28, seconds=20)
    few = Work(QueuedSweep("few"), 2, seconds=20, arrives=5.0)
    queue = SimulatedQueue([node(1)], [many, few])
    queue.run(2_000)
    assert queue.ended_at["few"] <= 100 < queue.ended_at["many"], "they take turns, also on a single CPU"


def test_owners_share_by_weight_whatever_their_numbers_of_sweeps() -> None:
    queue = [QueuedSweep(f"ada{i}", "ada", since=i) for i in range(20)]
    queue += [QueuedSweep("eve", "eve", since=50), QueuedSweep("bob", "bob", since=60)]
    started, _, _ = decide([node(20)], [], queue, {"bob": OwnerRules(weight=2.0)})
    assert [sum(name.startswith(owner) for name in started) for owner in ("ada", "eve", "bob")] == [5, 5, 10]


def test_an_owner_s_share_is_that_of_the_resource_of_which_they_have_most() -> None:
    queue = [QueuedSweep("cpus", "ada", Needs(3.0, 0.0)), QueuedSweep("gpus", "eve", Needs(1.0, 1.0))]
    started, _, _ = decide([node(cpus=15, gpus=6)], [], queue)
    assert started.count("cpus") == 3, "9 of 15 CPUs"
    assert started.count("gpus") == 4, "4 of 6 GPUs: as nearly the same part as whole packs allow"


def test_waiting_lifts_a_sweep_to_the_highest_priority_that_waits_and_never_above_it() -> None:
    high = [QueuedSweep("high", "eve", priority=4, since=1_000)]
    low = QueuedSweep("low", "ada", since=0)
    assert decide([node(1)], [], [*high, low], now=4 * 60 - 1)[0] == ["high"]
    assert decide([node(1)], [], [*high, low], now=4 * 60)[0] == ["low"], "of equals it waits longer"
    # however long it has waited, it is no more than equal, so that shares decide
    taken = [pack("p", "other", owner="ada")]
    assert decide([node(2)], taken, [*high, low], now=10_000)[0] == ["high"]


def test_equal_sweeps_are_not_told_apart_by_their_waiting_alone() -> None:
    old = [QueuedSweep(f"ada{i}", "ada", since=0) for i in range(100)]
    fresh = QueuedSweep("eve", "eve", since=10_000)
    started, _, _ = decide([node(2)], [], [*old, fresh], now=10_000)
    assert sorted(started) == ["ada0", "eve"]


def test_a_sweep_starts_no_more_trials_than_max_parallel() -> None:
    started, _, decision = decide([node(8)], [pack("p", "s", trials=2)], [QueuedSweep("s", max_parallel=4)])
    assert started == ["s", "s"]
    assert decision.waiting["s"].what == "a trial of its own sweep to end: max_parallel is 4, and 4 run"


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (OwnerRules(trials=3), "a trial of its owner to end, who may run 3 and runs 3"),
        (OwnerRules(cpus=3.0), "1 of the 3 CPUs that its owner may have, of which 3 are taken"),
        (OwnerRules(gpus=1.5), "0.5 of the 1.5 GPUs that its owner may have, of which 1.5 are taken"),
    ],
)
def test_an_owner_has_no_more_than_their_limits_and_others_do_not_wait(rules: OwnerRules, words: str) -> None:
    queue = [QueuedSweep(name, name[:3], Needs(1.0, 0.5)) for name in ("ada1", "ada2", "eve")]
    started, _, decision = decide([node(12, 4)], [], queue, {"ada": rules})
    assert sum(name.startswith("ada") for name in started) == 3
    assert started.count("eve") == 5
    assert {decision.waiting[name].what for name in ("ada1", "ada2")} == {words}


def test_a_pack_that_is_larger_than_every_node_holds_up_nobody() -> None:
    queue = [QueuedSweep("large", needs=Needs(8.0), priority=9), QueuedSweep("small")]
    started, _, decision = decide([node(2), node(2, name="m")], [], queue)
    assert started == ["small"] * 4
    assert decision.waiting["large"].what == "room for 8 CPUs: no node of the cluster is large enough"
    assert not decision.waiting["large"].in_line


def test_a_large_pack_keeps_room_that_smaller_ones_do_not_take() -> None:
    queue = [QueuedSweep("large", needs=Needs(4.0), since=0), QueuedSweep("small", since=1)]
    busy = [pack("p", "other", Needs(2.0))]
    assert decide([node(4)], busy, queue)[0] == []
    # on other nodes, and beside what is kept, small ones go on
    assert decide([node(4), node(1, name="m")], busy, queue)[0] == ["small"]
    gpus = [QueuedSweep("large", needs=Needs(4.0, 2.0), since=0), QueuedSweep("small", since=1)]
    started, _, _ = decide([node(7, 2)], [pack("p", "other", GPU)], gpus)
    assert started == ["small"] * 2, "it lacks a GPU, and 4 of the 6 free CPUs are kept"


def test_small_packs_never_starve_a_large_one() -> None:
    small = [Work(QueuedSweep(f"s{i}"), 40, seconds=7.0 + i) for i in range(6)]
    large = Work(QueuedSweep("large", needs=Needs(4.0)), 1, seconds=5, arrives=20.0)
    queue = SimulatedQueue([node(4), node(3, name="m")], [*small, large])
    queue.run(500)
    assert queue.ended_at["large"] < 60


def test_labels_and_memory_choose_the_node() -> None:
    nodes = [
        node(8, 2, name="a", memory=2**30, labels={"ray.io/accelerator-type": "A100"}),
        node(8, 2, name="h", memory=2**34, labels={"ray.io/accelerator-type": "H100"}),
    ]
    wants = (("ray.io/accelerator-type", "H100"),)
    queue = [QueuedSweep("h100", needs=Needs(gpus=1.0, labels=wants))]
    decision = FairShare(nodes, [], queue, {}, RULES, 0.0)
    turn = decision.turn()
    assert turn is not None
    assert turn.node == "h"
    assert decide(nodes, [], [QueuedSweep("m", needs=Needs(memory=2**32))])[0] == ["m"] * 4
    _, _, decision = decide(nodes, [], [QueuedSweep("x", needs=Needs(labels=(("zone", "a"),)))])
    assert decision.waiting["x"].what == "room for 1 CPU on a node with zone: a: no node of the cluster is large enough"


def test_parts_of_gpus_fit_only_on_one_gpu() -> None:
    half = Needs(gpus=0.5)
    assert decide([node(8, 2)], [], [QueuedSweep("half", needs=half)])[0] == ["half"] * 4
    taken = [pack("p", "other", Needs(gpus=0.7)), pack("q", "other", Needs(gpus=0.7))]
    assert decide([node(8, 2)], taken, [QueuedSweep("half", needs=half)])[0] == []
    assert decide([node(8, 2)], taken[:1], [QueuedSweep("whole", needs=GPU)])[0] == ["whole"]


def test_a_waiting_sweep_says_what_is_in_use_and_what_is_before_it() -> None:
    queue = [QueuedSweep(f"s{i}", needs=GPU, since=i) for i in range(3)]
    _, _, decision = decide([node(16, 2)], [pack(f"p{i}", "s0", GPU) for i in range(2)], queue)
    assert list(decision.waiting) == ["s1", "s2", "s0"], "the sweep that has both GPUs comes last"
    assert {wait.what for wait in decision.waiting.values()} == {"room for 1 CPU and 1 GPU: 2 of 2 GPUs are in use"}
    assert all(wait.in_line for wait in decision.waiting.values())


def test_only_a_strictly_higher_priority_preempts_and_only_what_has_run_for_a_while() -> None:
    def preempts(priority: int, seconds: float) -> list[str]:
        running = [pack("p", "low", priority=2, seconds=seconds)]
        return decide([node(1)], running, [QueuedSweep("high", priority=priority)], now=10_000)[1]

    assert preempts(3, 5.0) == ["p"]
    assert preempts(2, 5.0) == [], "also if it has waited for long"
    assert preempts(3, 4.9) == []


def test_nothing_is_preempted_where_that_makes_no_room() -> None:
    running = [pack("p", "low", seconds=9), pack("q", "higher", Needs(3.0), priority=7, seconds=9)]
    assert decide([node(4)], running, [QueuedSweep("high", needs=Needs(2.0), priority=5)])[1] == []


def test_the_fewest_packs_of_the_lowest_priority_and_the_newest_of_them_are_preempted() -> None:
    running = [
        pack("old", "a", seconds=90),
        pack("new", "a", seconds=10),
        pack("large", "a", Needs(2.0), seconds=5),
        pack("lower", "b", priority=-1, seconds=900),
    ]
    queue = [QueuedSweep("high", priority=1, max_parallel=1)]
    assert decide([node(5)], running, queue)[1] == ["lower"]
    assert decide([node(4)], running[:3], queue)[1] == ["large"], "it has run for the shortest time"
    assert decide([node(4)], running[:3], [QueuedSweep("high", needs=Needs(2.0), priority=1, max_parallel=1)])[1] == [
        "large"
    ]
    three = [QueuedSweep("high", needs=Needs(3.0), priority=1, max_parallel=1)]
    assert decide([node(4)], running[:3], three)[1] == ["large", "new"]


def test_no_more_is_preempted_than_is_wanted_and_not_again_while_packs_pause() -> None:
    running = [pack(f"p{i}", "low", seconds=9) for i in range(4)]
    queue = [QueuedSweep("high", priority=1, max_parallel=2)]
    assert len(decide([node(4)], running, queue)[1]) == 2
    pausing = [pack(f"p{i}", "low", seconds=9, pausing=i < 2) for i in range(4)]
    assert decide([node(4)], pausing, queue)[1] == []


def test_room_that_pausing_packs_leave_is_not_taken_by_others() -> None:
    running = [pack("p", "low", Needs(2.0), seconds=9, pausing=True)]
    queue = [QueuedSweep("high", needs=Needs(3.0), priority=1), QueuedSweep("small")]
    assert decide([node(3)], running, queue)[0] == []


def test_measured_shares_of_two_priorities_are_those_of_the_policy() -> None:
    low = Work(QueuedSweep("low"), 100, seconds=45)
    high = Work(QueuedSweep("high", priority=5, max_parallel=3), 60, seconds=10, arrives=100.0)
    queue = SimulatedQueue([node(4)], [low, high])
    queue.run(100)
    assert queue.seconds_of == {"low": 400}
    queue.run(200)
    assert queue.preempted["low"] >= 1
    # 3 of 4 CPUs, but for the seconds until packs have paused
    assert 300 - 3 * (PAUSE_SECONDS + RULES.preempt_after_seconds) <= queue.seconds_of["high"] <= 300
    queue.change("high", max_parallel=1)
    queue.run(250)
    before = queue.seconds_of["high"]
    queue.run(350)
    assert queue.seconds_of["high"] - before == pytest.approx(100, abs=5)
    queue.run(5_000)
    assert queue.ended_at.keys() == {"low", "high"}


def test_a_low_priority_goes_on_below_an_endless_stream_of_high_ones() -> None:
    low = Work(QueuedSweep("low", "ada"), 3, seconds=20)
    stream = [Work(QueuedSweep(f"h{i}", "eve", priority=5), 4, seconds=10, arrives=20.0 * i) for i in range(400)]
    queue = SimulatedQueue([node(2)], [low, *stream])
    queue.run(8_000)
    assert "low" in queue.ended_at
    assert queue.preempted["low"] > 0, "it was preempted, and got on in between"


def test_the_order_of_nodes_does_not_matter() -> None:
    nodes = [node(2, name=f"n{i}", id=f"id{i}") for i in range(4)]
    queue = [QueuedSweep("large", needs=Needs(2.0)), QueuedSweep("small", since=1)]
    packs = [pack("p", "o", node="id1"), pack("q", "o", node="id3")]
    decisions = []
    for order in (nodes, nodes[::-1]):
        decision = FairShare(order, packs, queue, {}, RULES, 0.0)
        found = []
        while (turn := decision.turn()) is not None:
            found.append((turn.sweep.id, turn.node))
            if turn.node is None:
                decision.wait(turn, 1)
            else:
                decision.start(turn, 1)
        decisions.append(found)
    assert decisions[0] == decisions[1]


needs = st.builds(
    Needs,
    cpus=st.sampled_from([0.5, 1.0, 2.0, 4.0]),
    gpus=st.sampled_from([0.0, 0.0, 0.25, 0.5, 1.0, 2.0]),
    memory=st.sampled_from([0, 0, 1, 3]),
    labels=st.sampled_from([(), (), (("zone", "a"),), (("zone", "!a"),)]),
)


@st.composite
def works(draw: st.DrawFn) -> list[Work]:
    found = []
    for number in range(draw(st.integers(1, 12))):
        sweep = QueuedSweep(
            f"s{number}",
            draw(st.sampled_from(["ada", "bob", "eve"])),
            draw(needs),
            draw(st.sampled_from([0, 0, 0, 1, 5, -3])),
            draw(st.sampled_from([None, None, 1, 2, 5])),
        )
        size, trials = draw(st.integers(1, 4)), draw(st.integers(1, 12))
        found.append(Work(sweep, trials, size, draw(st.integers(1, 40)), draw(st.integers(0, 60))))
    return found


clusters = st.lists(
    st.tuples(st.integers(4, 8), st.sampled_from([0, 2, 4]), st.sampled_from(["a", "b"])), min_size=1, max_size=4
)
limits = st.dictionaries(
    st.sampled_from(["ada", "bob"]),
    st.builds(
        OwnerRules,
        weight=st.sampled_from([0.5, 1.0, 3.0]),
        trials=st.sampled_from([None, 1, 3]),
        cpus=st.sampled_from([None, 4.0, 6.0]),
        gpus=st.sampled_from([None, 2.0]),
    ),
)


@given(clusters, works(), limits)
@settings(max_examples=150, deadline=None)
def test_every_sweep_that_fits_on_a_node_ends_and_no_limit_is_exceeded(
    sizes: list[tuple[int, int, str]], works: list[Work], owners: dict[str, OwnerRules]
) -> None:
    nodes = [
        node(cpus, gpus, name=f"n{i}", memory=4, labels={"zone": zone}) for i, (cpus, gpus, zone) in enumerate(sizes)
    ]
    fitting = [work for work in works if any(node.can_hold(work.sweep.needs) for node in nodes)]
    # one after another, each preempted at most once in each time that a pack runs undisturbed
    packs = sum(math.ceil(work.trials / work.pack_size) * work.pack_size for work in fitting)
    serial = sum(work.trials * (work.seconds + PAUSE_SECONDS + 2) for work in fitting)
    queue = SimulatedQueue(nodes, fitting, owners, RULES)
    queue.run(60 + 4 * serial + 8 * RULES.aging_seconds * (1 + packs))
    assert queue.ended_at.keys() == {work.sweep.id for work in fitting}


def test_a_thousand_gpus_and_a_hundred_thousand_trials_are_decided_with_bounded_work_and_all_end() -> None:
    nodes = [node(64, 8, name=f"n{i:03}", labels={"zone": "ab"[i % 2]}) for i in range(125)]
    kinds = [
        Needs(4.0, 1.0),
        Needs(2.0, 0.25),
        Needs(8.0, 2.0),
        Needs(16.0, 4.0),
        Needs(4.0, 1.0, labels=(("zone", "a"),)),
    ]
    works = [
        Work(
            QueuedSweep(f"s{i:04}", f"owner{i % 40}", kinds[i % len(kinds)], priority=(i % 7) // 5 * 5),
            trials=100,
            pack_size=16,
            seconds=80.0 + i % 60,
            arrives=float(i % 50),
        )
        for i in range(1_000)
    ]
    queue = SimulatedQueue(nodes, works, rules=QueueRules(600.0, 60.0), tick=40.0)
    queue.run(100_000)
    assert len(queue.ended_at) == 1_000
    # each start looks at one node more, each kind of pack and each round of preemptions at all of them
    assert queue.looks <= 125 * 8 * 8 + (len(kinds) + 16 * 2) * 125 * 20
