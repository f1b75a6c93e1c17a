"""The buffer pool reuses memory, but never while a tensor still reads it, and only for arrays of about its size."""

import gc

import pytest
import torch

from spectral import SpectralRNN
from spectral.recurrence import buffer_pool

FLOAT = torch.zeros((), dtype=torch.float32)
ROWS = buffer_pool.SMALLEST // 4000 + 1


@pytest.fixture(autouse=True)
def _nothing_waits() -> None:
    gc.collect()
    buffer_pool._waiting.clear()


def test_a_freed_region_serves_the_next_array_of_its_size() -> None:
    first = buffer_pool.empty((ROWS, 1000), FLOAT)
    place = first.data_ptr()
    del first
    assert buffer_pool.empty((1000, ROWS), FLOAT).data_ptr() == place


def test_a_region_waits_until_its_last_view_is_gone() -> None:
    first = buffer_pool.empty((ROWS, 1000), FLOAT)
    view = first[-1:].fill_(3)
    del first
    other = buffer_pool.empty((ROWS, 1000), FLOAT).fill_(5)
    assert other.data_ptr() != view.data_ptr()
    assert bool((view == 3).all())


@pytest.mark.parametrize("rows", [4 * ROWS, 3 * ROWS // 2])
def test_an_array_of_another_size_gets_another_region(rows: int) -> None:
    first = buffer_pool.empty((2 * ROWS, 1000), FLOAT)
    del first
    other = buffer_pool.empty((rows, 1000), FLOAT)
    assert other.fill_(1).sum().item() == rows * 1000
    assert len(buffer_pool._waiting) == 0, "the one that did not fit went back to the system"


def test_few_regions_wait() -> None:
    several = [buffer_pool.empty((ROWS, 1000), FLOAT) for _ in range(2 * buffer_pool.KEPT)]
    del several
    assert len(buffer_pool._waiting) == buffer_pool.KEPT


def test_results_of_one_sequence_outlive_the_next() -> None:
    net = SpectralRNN(1, 64, nonlinearity="relu", reflectors=4, generator=torch.Generator().manual_seed(0))
    first, _ = net(torch.rand(64, 128, 1))
    kept = first.detach().clone()
    net(torch.rand(64, 128, 1))[0].sum().backward()
    net(torch.rand(64, 128, 1))
    assert torch.equal(first, kept)
    first.sum().backward()


def test_an_output_is_an_array_of_its_own_that_can_be_written_to() -> None:
    scale = torch.nn.Parameter(torch.ones(()))
    with torch.no_grad():
        array = buffer_pool.empty((ROWS, 1000), FLOAT).zero_()
    array += scale
    array.sum().backward()
    assert scale.grad is not None
    assert scale.grad.item() == ROWS * 1000
