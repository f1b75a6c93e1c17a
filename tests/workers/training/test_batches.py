"""The batches of each trial: lengths and masks stay with their sequences, streams continue from batch to batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.workers.training.test_metrics import Drawn, Letters, data_of
from workers.tasks.copy_memory import Copy
from workers.training.batches import ShuffledOrder, StreamOrder


def test_lengths_and_masks_stay_with_their_sequences() -> None:
    task = Drawn(every=True, unequal=True)
    data, drawn = data_of(task), task.drawn(12)
    orders = [data.order(seed, 5) for seed in (0, 1)]
    batch = data.batch(orders, [0, 1], [0, 3], 5)
    assert batch.lengths is not None
    assert batch.resets is None
    for k, step in enumerate((0, 3)):
        rows = orders[k].indices(step)
        np.testing.assert_array_equal(batch.inputs[k].numpy(), drawn.inputs[rows].astype(np.float64))
        np.testing.assert_array_equal(batch.targets[k].numpy(), drawn.targets[rows])
        np.testing.assert_array_equal(batch.lengths[k].numpy(), drawn.lengths[rows])  # type: ignore[index]


def test_new_sequences_are_stacked_and_a_function_of_seed_and_step() -> None:
    data = data_of(Copy(length=2))
    orders = [data.order(seed, 3) for seed in (4, 5)]
    batch = data.batch(orders, [4, 5], [7, 0], 3)
    assert batch.inputs.shape == (2, 3, 22, 10)
    assert batch.lengths is None
    alone = data.batch(orders[:1], [4], [7], 3)
    assert torch.equal(batch.inputs[:1], alone.inputs)
    assert not torch.equal(data.batch(orders[:1], [4], [8], 3).inputs, alone.inputs)


def test_a_row_of_a_stream_continues_where_its_last_batch_ended() -> None:
    task = Letters()
    data, ids = data_of(task), torch.from_numpy(task.streams(None).train)
    order, batches = data.order(3, 4), 1_999 // 4 // 6
    assert data.train_size == 1_999
    seen = [data.batch([order], [3], [step], 4) for step in range(batches)]
    for batch in seen:
        assert batch.inputs.shape == batch.targets.shape == (1, 4, 6)
    rows = torch.cat([batch.inputs[0] for batch in seen], 1)
    targets = torch.cat([batch.targets[0] for batch in seen], 1)
    for b, start in enumerate(order.indices(0)):
        span = slice(start, start + rows.shape[1])
        assert torch.equal(rows[b], ids[span])
        assert torch.equal(targets[b], ids[span.start + 1 : span.stop + 1])


def test_a_pass_over_a_stream_resets_the_state_and_each_trial_has_its_own() -> None:
    data, batches = data_of(Letters()), 1_999 // 4 // 6
    orders = [data.order(seed, 4) for seed in (0, 1)]
    flags = [data.batch(orders, [0, 1], [step, step + 1], 4).resets for step in (0, batches - 1, batches)]
    assert [flag.tolist() for flag in flags if flag is not None] == [[True, False], [False, True], [True, False]]


@pytest.mark.parametrize(
    ("size", "batch_size", "length"), [(100, 4, 6), (101, 7, 3), (24, 4, 6), (25, 4, 6), (9, 1, 2)]
)
def test_a_pass_never_leaves_the_stream_nor_reads_a_step_twice(size: int, batch_size: int, length: int) -> None:
    starts = set()
    for seed in range(5):
        order = StreamOrder(seed, size, batch_size, length)
        batches = size // batch_size // length
        for turn in range(3):
            steps = range(turn * batches, (turn + 1) * batches)
            spans = [s + np.arange(length) for step in steps for s in order.indices(step)]
            seen = np.concatenate(spans)
            assert len(np.unique(seen)) == batches * batch_size * length
            assert seen.min() >= 0
            assert seen.max() < size
            starts.add(int(order.indices(steps[0])[0]))
    assert (len(starts) > 1) == (size > batches * batch_size * length)


def test_a_stream_shorter_than_a_batch_is_refused() -> None:
    with pytest.raises(ValueError, match=r"batch_size 4 rows of task\.length 6 steps .* 23 steps"):
        StreamOrder(0, 23, 4, 6)


def test_other_tasks_are_shuffled() -> None:
    assert isinstance(data_of(Drawn()).order(0, 4), ShuffledOrder)


def test_a_pass_has_every_example_once_and_passes_differ() -> None:
    order = ShuffledOrder(seed=3, size=10, batch_size=4)
    seen = [i for step in range(5) for i in order.indices(step).tolist()]
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]
    assert ShuffledOrder(3, 10, 4).indices(3).tolist() == seen[12:16]


def test_a_batch_larger_than_the_set_runs_over_several_passes() -> None:
    assert sorted(ShuffledOrder(seed=0, size=3, batch_size=9).indices(0).tolist()) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
