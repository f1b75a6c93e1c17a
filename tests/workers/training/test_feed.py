"""Batches that come in blocks through static tensors are those that are made one by one."""

from __future__ import annotations

import pytest
import torch

from tests.workers.training.test_metrics import Drawn, DrawnValues, Letters, data_of
from workers.tasks import Task
from workers.tasks.adding import Adding
from workers.tasks.copy_memory import Copy
from workers.training import device_draws, fused
from workers.training import feed as feed_module
from workers.training.batches import Batch, TaskData
from workers.training.device_draws import draws_of
from workers.training.feed import BatchFeed

CPU = torch.device("cpu")
SEEDS, STEPS, SIZE = [3, 4], [0, 7], 5
TASKS: list[Task] = [
    Drawn(),
    Drawn(every=True, unequal=True),
    DrawnValues(every=True),
    Adding(length=6),
    Copy(length=2),
    Letters(),
]


def assert_same(found: Batch, expected: Batch) -> None:
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


def wanted(data: TaskData, done: int) -> Batch:
    orders = [data.order(seed, SIZE) for seed in SEEDS]
    return data.batch(orders, SEEDS, [step + done for step in STEPS], SIZE)


@pytest.mark.parametrize("block", [1, 2**10, 2**24])
@pytest.mark.parametrize("task", TASKS, ids=str)
def test_blocks_have_the_batches_of_their_steps(task: Task, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "BLOCK_BYTES", block)
    monkeypatch.setattr(feed_module, "MOST_STEPS", 4)
    data = data_of(task)
    found = BatchFeed(data, SEEDS, STEPS, SIZE, CPU)
    places = {name: tensor.data_ptr() for name, tensor in found.block.items()}
    for done in range(10):
        found.load()
        assert_same(found.batch(), wanted(data, done))
        assert_same(fused.batch(found, data), wanted(data, done))
        found.advance()
    assert places == {name: tensor.data_ptr() for name, tensor in found.block.items()}


@pytest.mark.parametrize("after", [0, 1, 4, 6])
@pytest.mark.parametrize("task", TASKS, ids=str)
def test_a_feed_goes_on_with_another_trial_in_the_same_tensors(
    task: Task, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "MOST_STEPS", 4)
    data = data_of(task)
    found = BatchFeed(data, [9, SEEDS[1]], [5, STEPS[1] - after], SIZE, CPU)
    places = {name: tensor.data_ptr() for name, tensor in found.block.items()}
    for _ in range(after):
        found.load()
        found.batch()
        found.advance()
    found.restart(SEEDS, STEPS)
    for done in range(6):
        found.load()
        assert_same(found.batch(), wanted(data, done))
        assert_same(fused.batch(found, data), wanted(data, done))
        found.advance()
    assert places == {name: tensor.data_ptr() for name, tensor in found.block.items()}


@pytest.mark.parametrize("size", [1, 5, 16])
@pytest.mark.parametrize("task", [Adding(length=7), Adding(length=40), Copy(length=1), Copy(length=30)], ids=str)
def test_the_device_draws_what_the_task_draws(task: Task, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "MOST_STEPS", 3)
    data = TaskData(task, None, CPU, torch.float32)
    draws = draws_of(task, size, CPU)
    assert draws is not None
    found = BatchFeed(data, SEEDS, STEPS, size, CPU, draws)
    orders = [data.order(seed, size) for seed in SEEDS]
    for done in range(5):
        found.load()
        batch = fused.batch(found, data)
        assert_same(batch, data.batch(orders, SEEDS, [step + done for step in STEPS], size))
        assert batch.inputs.transpose(1, 2).is_contiguous()
        found.advance()


def test_the_host_draws_what_the_device_would_draw_otherwise(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(device_draws, "MULTIPLIER", device_draws.MULTIPLIER + 2)
    assert draws_of(Adding(length=40), 8, CPU) is None
    assert "a GPU would draw others" in caplog.text
    assert draws_of(Drawn(), 8, CPU) is None


def test_numbers_lie_in_the_order_in_which_networks_read_them() -> None:
    for data in (data_of(Adding(length=6)), data_of(Drawn())):
        found = BatchFeed(data, SEEDS, STEPS, SIZE, CPU)
        found.load()
        assert fused.batch(found, data).inputs.transpose(1, 2).is_contiguous()


def test_an_error_of_the_thread_in_the_background_is_raised() -> None:
    data = data_of(Drawn())
    found = BatchFeed(data, SEEDS, STEPS, SIZE, CPU)
    found.load()

    for part in found._pending:
        part.result()

    def broken(*_: object) -> dict[str, torch.Tensor]:
        raise OSError("the disk is gone")

    data.parts = broken  # type: ignore[method-assign]
    found._left = 0  # the second block is whole, the third one is not
    found.load()
    found._left = 0
    with pytest.raises(OSError, match="the disk is gone"):
        found.load()
