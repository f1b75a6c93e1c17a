"""The guard against slower code compares what can be compared, and fails where nothing can be."""

from dataclasses import replace

import pytest

from benchmarks import check
from benchmarks.results import row

OLD = [row("P1", "n=128", 5.0, 10.0, 0.5, "last state; nn.RNN"), row("P1-all", "n=128", 6.0, 10.0, 0.6, "all; nn.RNN")]
COMMITTED = {check.key(line): line for line in OLD}


def test_ratios_that_are_as_good_or_a_little_worse_pass() -> None:
    assert check.worse(OLD, COMMITTED) == []
    assert check.worse([replace(line, ratio=1.14 * line.ratio) for line in OLD if line.ratio], COMMITTED) == []
    assert check.worse([replace(OLD[0], ratio=0.1)], COMMITTED) == []


def test_a_ratio_that_is_worse_by_more_than_the_allowance_is_found() -> None:
    slower = replace(OLD[1], ratio=0.6 * 1.16)
    assert check.worse([OLD[0], slower], COMMITTED) == [slower]


def test_a_ratio_that_was_not_measured_counts_as_worse() -> None:
    assert check.worse([replace(OLD[0], ratio=None)], COMMITTED)


def test_other_benchmarks_and_other_peers_are_not_compared() -> None:
    others = [replace(OLD[0], id="P1-peers", ratio=99.0), replace(OLD[0], shape="n=1", ratio=99.0)]
    assert check.worse([*OLD, *others], COMMITTED) == []


def test_nothing_to_compare_is_an_error() -> None:
    with pytest.raises(SystemExit, match="nothing to compare"):
        check.worse([replace(OLD[0], shape="n=1")], COMMITTED)
