"""checkpoint_every changes only what is kept: outputs and every gradient are the same without it."""

import itertools
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from spectral import BACKENDS, Activation, SpectralRNN, recurrence
from spectral.errors import RangeError
from spectral.recurrence import last_state, layer
from spectral.recurrence.activation import NAMES
from tests.spectral.agreement import (
    LAW,
    activations,
    assert_near,
    draw,
    generator,
    gradients,
    move_offsets,
    named,
    offset,
    there,
    transition,
)

F64 = torch.float64
INTERPRETED = [("tanh", 3, (2,)), ("tanh", 1, ()), ("tanh", 6, (2,)), ("modrelu", 3, ())]
"""Every value of the nonlinearity, ``checkpoint_every`` and the trial axis, but not every combination."""


def cells(backend):
    """Return what a backend is tried with: everything, unless it runs in Triton's interpreter, which is slow."""
    if backend.startswith("triton"):
        return INTERPRETED
    return list(itertools.product(activations(backend), [1, 3, 6], [(), (2,)]))


@pytest.mark.parametrize(
    ("backend", "name", "every", "lead"),
    [named(backend, *cell) for backend in sorted(BACKENDS) for cell in cells(backend)],
    ids=str,
)
def test_every_backend(backend, name, every, lead):
    n, steps, batch = 7, 7, 3
    matrix = transition(n, 2, 3, lead=lead)
    z, h0 = draw(*lead, steps, batch, n, seed=5).requires_grad_(), draw(*lead, batch, n, seed=6).requires_grad_()
    b = offset(name, n, lead=lead)
    found = recurrence(z, h0, matrix, Activation(name), offset=b, backend=backend, checkpoint_every=every)
    expected = recurrence(z, h0, matrix, Activation(name), offset=b, backend="reference")
    size = steps * batch * n * 6
    assert_near(found, expected, size)
    leaves = there(z, h0, *matrix, b)
    for f, e in zip(gradients(found, leaves), gradients(expected, leaves), strict=True):
        assert_near(f, e, size)


READS = ("all states", "the last state", "both", "the last state alone")


def losses(backend):
    """Return what the loss reads, whether the input wants a gradient, and the trial axis; fewer for the interpreter."""
    if backend.startswith("triton"):
        return list(zip(READS, itertools.cycle([True, False]), [(2,)] * 4, strict=False))
    return list(itertools.product(READS, [False, True], [(), (2,)]))


@pytest.mark.parametrize(
    ("backend", "loss_reads", "input_wants_gradient", "lead"),
    [named(backend, *loss) for backend in sorted(BACKENDS) for loss in losses(backend)],
    ids=str,
)
def test_a_layer_whatever_the_loss_reads(backend, loss_reads, input_wants_gradient, lead):
    n, steps, batch, features = 9, 8, 3, 2
    x = draw(*lead, steps, batch, features).requires_grad_(input_wants_gradient)
    weight, bias = draw(*lead, n, features, seed=2).requires_grad_(), draw(*lead, n, seed=3).requires_grad_()
    h0, matrix = draw(*lead, batch, n, seed=1).requires_grad_(), transition(n, 2, 2, lead=lead)
    leaves = [weight, bias, h0, *matrix, *([x] if input_wants_gradient else [])]
    given = (x, weight, bias, h0, matrix, Activation("tanh"))

    def loss(states, last):
        parts = {"all states": [states], "both": [states, last]}.get(loss_reads, [last])
        return torch.cat([part.flatten() for part in parts])

    if loss_reads == "the last state alone":
        found = last_state(*given, backend=backend, checkpoint_every=3).flatten()
    else:
        found = loss(*layer(*given, backend=backend, checkpoint_every=3))
    expected = loss(*layer(*given, backend="torch_loop"))
    assert_near(found, expected, 800)
    for f, e in zip(gradients(found, leaves), gradients(expected, leaves), strict=True):
        assert_near(f, e, 800)


def nets(every, **options):
    options.setdefault("reflectors", (3, 4))
    pair = [
        SpectralRNN(3, 6, dtype=F64, generator=generator(), margin=0.3, checkpoint_every=e, **options)
        for e in (None, every)
    ]
    assert torch.equal(pair[0].weight_ih_l0, pair[1].weight_ih_l0)
    for net in pair:
        move_offsets(net)
    return pair


def assert_same(plain, cut, x, h0=None, size=4000, **options):
    """Compare output, h_n, last_state, and the gradients of a loss that reads output and h_n."""
    results = []
    for net in (plain, cut):
        out, h_n = net(x, h0, **options)
        out = out.data if isinstance(out, PackedSequence) else out
        both = torch.cat([out.flatten(), h_n.flatten()])
        alone = net.last_state(x, h0, **options)
        leaves = [*net.parameters(), *([] if h0 is None else [h0])]
        if isinstance(x, torch.Tensor) and x.requires_grad:
            leaves.append(x)
        own = [both, alone]
        results.append(own + [g for value in own for g in gradients(value, leaves)])
    for found, expected in zip(*results, strict=True):
        assert_near(found, expected, size)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("lengths", [None, [7, 1, 4, 3]])
@pytest.mark.parametrize("every", [1, 3])
def test_every_option(layers, bidirectional, batch_first, lengths, every):
    plain, cut = nets(every, num_layers=layers, bidirectional=bidirectional, batch_first=batch_first)
    x = (draw(4, 7, 3) if batch_first else draw(7, 4, 3)).requires_grad_()
    h0 = draw(layers * (1 + bidirectional), 4, 6, seed=3).requires_grad_()
    lengths = None if lengths is None else torch.tensor(lengths)
    assert_same(plain, cut, x, h0, lengths=lengths)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_packed_sequences_and_no_batch(bidirectional):
    plain, cut = nets(2, num_layers=2, bidirectional=bidirectional)
    lengths = torch.tensor([3, 5, 1, 3])
    assert_same(plain, cut, pack_padded_sequence(draw(5, 4, 3), lengths, enforce_sorted=False))
    assert_same(plain, cut, draw(5, 3))


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("lengths", [[[3, 5], [1, 2]], [5, 2]])
def test_packs(bidirectional, lengths):
    first = nets(2, num_layers=2, bidirectional=bidirectional)
    second = nets(2, num_layers=2, bidirectional=bidirectional, reflectors=2)
    plain, cut = (SpectralRNN.pack(trials) for trials in zip(first, second, strict=True))
    assert cut.checkpoint_every == 2
    assert_same(plain, cut, draw(2, 5, 2, 3).requires_grad_(), lengths=torch.tensor(lengths))


@LAW
@given(data=st.data())
def test_drawn_sizes(data):
    steps, every = data.draw(st.integers(1, 13), label="T"), data.draw(st.integers(1, 14), label="S")
    layers, batch = data.draw(st.integers(1, 3), label="L"), data.draw(st.integers(1, 5), label="B")
    plain, cut = nets(every, num_layers=layers, nonlinearity=data.draw(st.sampled_from(NAMES)))
    lengths = data.draw(st.none() | st.lists(st.integers(1, steps), min_size=batch, max_size=batch), label="lengths")
    assert_same(plain, cut, draw(steps, batch, 3), lengths=None if lengths is None else torch.tensor(lengths))


def test_dropout_is_drawn_once():
    cut = nets(2, num_layers=2, dropout=0.5)[1]
    x = draw(7, 4, 3)
    torch.manual_seed(0)
    out, h_n = cut(x)
    torch.manual_seed(0)
    plain = nets(2, num_layers=2, dropout=0.5)[0]
    again, h_again = plain(x)
    assert_near(out, again, 2000)
    for f, e in zip(gradients(h_n, [*cut.parameters()]), gradients(h_again, [*plain.parameters()]), strict=True):
        assert_near(f, e, 2000)


def test_an_empty_batch_and_frozen_parameters():
    cut = nets(2)[1]
    assert cut.last_state(torch.zeros(5, 0, 3, dtype=F64)).shape == (1, 0, 6)
    cut.requires_grad_(False)
    assert not cut(draw(5, 2, 3))[0].requires_grad
    cut.weight_ih_l0.requires_grad_()
    plain = nets(2)[0]
    (found,) = gradients(cut(draw(5, 2, 3))[0], [cut.weight_ih_l0])
    (expected,) = gradients(plain(draw(5, 2, 3))[0], [plain.weight_ih_l0])
    assert_near(found, expected, 400)


@pytest.mark.parametrize("every", [0, -3])
def test_what_is_refused(every):
    with pytest.raises(RangeError, match="at least 1"):
        SpectralRNN(3, 6, reflectors=2, checkpoint_every=every)


MEMORY = """
import sys, torch
from spectral import SpectralRNN
torch.set_num_threads(1)
steps, every = int(sys.argv[1]), int(sys.argv[2])
net = SpectralRNN(1, 64, reflectors=4, checkpoint_every=every)
net.last_state(torch.randn(3 * every, 32, 1)).sum().backward()
def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
x = torch.randn(steps, 32, 1)
before = peak()
net.last_state(x).sum().backward()
print(1024 * (peak() - before), 4 * steps * 32 * 64)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of resident memory from /proc")
def test_memory_stays_far_below_one_array_of_all_states():
    done = subprocess.run([sys.executable, "-c", MEMORY, "4000", "63"], capture_output=True, text=True, check=True)
    grown, states = map(int, done.stdout.split())
    assert grown < states / 4
