"""What a caller gives to a recurrent module: inputs, states and lengths of the wrong form are refused by name."""

import pytest
import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence

from spectral import SpectralGRU, SpectralLSTM, SpectralRNN
from spectral.errors import RangeError, ShapeError
from tests.spectral.agreement import draw, generator, gradients

F64 = torch.float64
KINDS = {"rnn": SpectralRNN, "lstm": SpectralLSTM, "gru": SpectralGRU}
kinds = pytest.mark.parametrize("kind", list(KINDS))


def net(kind, *sizes, **options):
    return KINDS[kind](*(sizes or (3, 8)), generator=generator(), **options)


def state(kind, *shape, dtype=torch.float32):
    each = torch.zeros(*shape, dtype=dtype)
    return (each, each) if kind == "lstm" else each


def result(out):
    """Return the output and all last states in one list; of a PackedSequence its data."""
    output, last = out
    output = output.data if isinstance(output, PackedSequence) else output
    return [output, *(last if isinstance(last, tuple) else (last,))]


@pytest.mark.parametrize("kind", ["rnn", "gru"])
def test_a_tuple_of_states_is_refused_where_there_is_one_state(kind):
    made, h = net(kind), torch.zeros(1, 2, 8)
    with pytest.raises(ShapeError, match=r"hx must be one tensor, h_0; found a tuple of 2: \(Tensor, Tensor\)"):
        made(torch.zeros(5, 2, 3), (h, h))
    with pytest.raises(ShapeError, match="hx must be one tensor, h_0; found a list of 1"):
        made(torch.zeros(5, 2, 3), [h])
    with pytest.raises(ShapeError, match="hx must be one tensor, h_0; found a float"):
        made(torch.zeros(5, 2, 3), 0.0)


def test_an_lstm_takes_two_states():
    made, h = net("lstm"), torch.zeros(1, 2, 8)
    for wrong in ((h,), (h, h, h), h, (h, None)):
        with pytest.raises(ShapeError, match=r"hx must be a tuple of two tensors, \(h_0, c_0\); found a "):
            made(torch.zeros(5, 2, 3), wrong)
    with pytest.raises(ShapeError, match=r"found a tuple of 3: \(Tensor, Tensor, Tensor\)"):
        made(torch.zeros(5, 2, 3), (h, h, h))
    with pytest.raises(ShapeError, match=r"c_0 must have shape \(1, 2, 8\); found \(1, 3, 8\)"):
        made(torch.zeros(5, 2, 3), (h, torch.zeros(1, 3, 8)))
    assert torch.equal(made(torch.ones(5, 2, 3), [h, h])[0], made(torch.ones(5, 2, 3))[0])
    projected = net("lstm", 3, 8, proj_size=2)
    with pytest.raises(ShapeError, match=r"h_0 must have shape \(1, 2, 2\); found \(1, 2, 8\)"):
        projected(torch.zeros(5, 2, 3), (h, h))


@kinds
def test_a_state_of_the_wrong_shape_is_shown_as_it_was_given(kind):
    made = net(kind, 3, 8, batch_first=True)
    with pytest.raises(ShapeError, match=r"h_0 must have shape \(1, 8\) for an input without a batch; found \(1, 1, 8"):
        made(torch.zeros(5, 3), state(kind, 1, 1, 8))
    with pytest.raises(ShapeError, match=r"h_0 must have shape \(1, 2, 8\); found \(1, 8\)"):
        made(torch.zeros(2, 5, 3), state(kind, 1, 8))
    with pytest.raises(ShapeError, match=r"h_0 must have shape \(1, 2, 8\); found \(1, 5, 8\)"):
        made(pack_sequence([torch.zeros(4, 3), torch.zeros(2, 3)]), state(kind, 1, 5, 8))
    pack = KINDS[kind].pack([net(kind), net(kind)])
    with pytest.raises(ShapeError, match=r"h_0 must have shape \(2, 1, 7, 8\); found \(1, 7, 8\)"):
        pack(torch.zeros(2, 5, 7, 3), state(kind, 1, 7, 8))


@kinds
def test_an_input_of_the_wrong_shape_is_shown_as_it_was_given(kind):
    made = net(kind, 3, 8, batch_first=True)
    for shape in ((2, 5, 4), (2, 0, 3), (0, 3), (3,), (1, 2, 5, 3)):
        found = str(shape).replace("(", r"\(").replace(")", r"\)")
        with pytest.raises(ShapeError, match=rf"input must have shape \(B, T, 3\), or without .* \(T, 3\).*{found}"):
            made(torch.zeros(shape))
    with pytest.raises(ShapeError, match=r"data of a PackedSequence must have shape \(steps, 3\); found \(6, 4\)"):
        made(pack_sequence([torch.zeros(4, 4), torch.zeros(2, 4)]))
    with pytest.raises(ShapeError, match="input must be a tensor or a PackedSequence; found list"):
        made([[1.0, 2.0, 3.0]])


@kinds
@pytest.mark.parametrize(
    ("dtype", "advice"),
    [
        (F64, r"convert input, input.to\(torch.float32\), or the module, .to\(torch.float64\)"),
        (torch.bfloat16, r"convert input, input.to\(torch.float32\)"),
        (torch.int64, r"convert it: input.to\(torch.float32\)"),
        (torch.complex64, "complex numbers are not supported"),
    ],
)
def test_an_input_or_a_state_of_another_dtype_is_refused(kind, dtype, advice):
    made = net(kind)
    with pytest.raises(ShapeError, match=f"input must have the dtype of the parameters, torch.float32.*{advice}"):
        made(torch.zeros(5, 2, 3, dtype=dtype))
    packed = pack_sequence([torch.zeros(4, 3, dtype=dtype), torch.zeros(2, 3, dtype=dtype)])
    with pytest.raises(ShapeError, match=f"input must have the dtype of the parameters.*{advice}"):
        made(packed)
    with pytest.raises(ShapeError, match=f"h_0 must have the dtype of the parameters, torch.float32; found {dtype}"):
        made(torch.zeros(5, 2, 3), state(kind, 1, 2, 8, dtype=dtype))


@kinds
def test_an_input_or_a_state_on_another_device_is_refused(kind):
    made, x = net(kind), torch.zeros(5, 2, 3)
    moved = (
        r"input must be on the device of the parameters, cpu; found meta; move input, input.to\('cpu'\), or the module"
    )
    packed = pack_sequence([torch.zeros(4, 3), torch.zeros(2, 3)])
    for given in (x.to("meta"), packed._replace(data=packed.data.to("meta"))):
        with pytest.raises(ShapeError, match=moved):
            made(given)
    states = state(kind, 1, 2, 8)
    elsewhere = (states[0], states[1].to("meta")) if kind == "lstm" else states.to("meta")
    for given in (x, packed):
        with pytest.raises(ShapeError, match=r"^[hc]_0 must be on the device of the parameters, cpu\b"):
            made(given, elsewhere)
    with pytest.raises(ShapeError, match=r"^input must be on the device of the parameters, meta\b"):
        made.to("meta")(x)


@kinds
@pytest.mark.parametrize("error", [ValueError, RuntimeError])
def test_a_wrong_shape_is_an_error_of_both_kinds_that_torch_raises(kind, error):
    made = net(kind)
    for given in ((torch.zeros(5, 2, 4),), (torch.zeros(5, 3),) * 2, (torch.zeros(5, 2, 3), state(kind, 1, 7, 8))):
        with pytest.raises(error):
            made(*given)


@kinds
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_autocast_takes_every_real_dtype_also_in_a_packed_sequence(kind, dtype):
    made = net(kind)
    whole = torch.arange(24.0).view(4, 2, 3) / 24
    packed = pack_padded_sequence(whole.to(dtype), torch.tensor([4, 2]))
    exact = result(made(pack_padded_sequence(whole.to(dtype).float(), torch.tensor([4, 2]))))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = result(made(packed, state(kind, 1, 2, 8, dtype=dtype)))
        with pytest.raises(ShapeError, match="complex numbers are not supported"):
            made(torch.zeros(5, 2, 3, dtype=torch.complex64))
        with pytest.raises(ShapeError, match="input must have the dtype of the parameters"):
            made(torch.zeros(5, 2, 3, dtype=torch.int32))
    for f, e in zip(found, exact, strict=True):
        assert torch.equal(f, e)


@kinds
def test_lengths_of_the_wrong_form_are_refused(kind):
    made, x = net(kind), torch.zeros(5, 2, 3)
    for wrong, found in ((torch.tensor([[3, 5]]), r"\(1, 2\)"), (torch.tensor(3), r"\(\)"), ([3, 5], "list")):
        with pytest.raises(ShapeError, match=rf"lengths must be a tensor of shape \(2,\); found {found}"):
            made(x, lengths=wrong)
    for wrong in (torch.tensor([3.0, 5.0]), torch.tensor([True, False]), torch.tensor([3j, 5j])):
        with pytest.raises(RangeError, match="lengths must be integers"):
            made(x, lengths=wrong)
    for wrong in (torch.tensor([3, 6]), torch.tensor([0, 5]), torch.tensor([-1, 5])):
        with pytest.raises(RangeError, match=r"lengths must lie in \[1, 5\]"):
            made(x, lengths=wrong)
    with pytest.raises(ShapeError, match=r"lengths must be a tensor of shape \(\); found \(1,\)"):
        made(torch.zeros(5, 3), lengths=torch.tensor([3]))


@kinds
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_lengths_of_every_integer_dtype_and_without_a_batch(kind, dtype):
    made, x = net(kind, 3, 8, bidirectional=True), draw(5, 3).float()
    found, expected = result(made(x, lengths=torch.tensor(3, dtype=dtype))), result(made(x[:3]))
    torch.testing.assert_close(found[0][:3], expected[0])
    assert not found[0][3:].any()
    for f, e in zip(found[1:], expected[1:], strict=True):
        torch.testing.assert_close(f, e)


@kinds
@pytest.mark.parametrize("lengths", [None, torch.zeros(0, dtype=torch.int64)], ids=["whole", "lengths"])
def test_an_empty_batch_has_a_graph_and_zero_gradients(kind, lengths):
    made = net(kind, 3, 8, 2, bidirectional=True)
    with torch.no_grad():
        made.bias_l0[0] = torch.inf
    x = torch.zeros(5, 0, 3, requires_grad=True)
    parts = result(made(x, lengths=lengths))
    assert parts[0].shape == (5, 0, 16)
    assert all(part.shape == (4, 0, 8) for part in parts[1:])
    for part in parts:
        grads = torch.autograd.grad(part.sum(), [x, *made.parameters()], retain_graph=True, allow_unused=True)
        assert all(grad is None or not grad.any() for grad in grads)
    sum(part.sum() for part in parts).backward()
    assert all(not parameter.grad.any() for parameter in made.parameters())


@kinds
@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "batch_first": True}, {"bias": False}])
def test_shapes_are_inferred_on_the_meta_device(kind, options):
    made, real = (net(kind, 3, 8, 2, device=device, **options) for device in ("meta", "cpu"))
    x, lengths = torch.zeros(4, 4, 3), torch.tensor([4, 2, 3, 1])
    packed = pack_padded_sequence(x, lengths, options.get("batch_first", False), enforce_sorted=False)
    on_meta = packed.to("meta")
    cases = [
        (made(x.to("meta")), real(x)),
        (made(x[0].to("meta")), real(x[0])),
        (made(x.to("meta"), lengths=lengths), real(x, lengths=lengths)),
        (made(x.to("meta"), lengths=lengths.to("meta")), real(x, lengths=lengths)),
        (made(on_meta._replace(batch_sizes=packed.batch_sizes)), real(packed)),
    ]
    for inferred, expected in cases:
        for i, e in zip(result(inferred), result(expected), strict=True):
            assert i.is_meta
            assert (i.shape, i.dtype) == (e.shape, e.dtype)


@kinds
def test_a_packed_sequence_is_padded_and_cut_without_a_loss(kind):
    made = net(kind, 3, 8, 2, dtype=F64)
    x, lengths = draw(5, 3, 3).requires_grad_(), torch.tensor([2, 5, 3])
    packed = made(pack_padded_sequence(x, lengths, enforce_sorted=False))
    padded = made(x, lengths=lengths)
    for b, length in enumerate(lengths):
        alone = result(made(x[:length, b : b + 1]))
        torch.testing.assert_close(padded[0][:length, b : b + 1], alone[0])
        for whole, own in zip(result(packed)[1:], alone[1:], strict=True):
            torch.testing.assert_close(whole[:, b : b + 1], own)
    (found,), (expected,) = (gradients(result(each)[0].sum().view(1), [x]) for each in (packed, padded))
    torch.testing.assert_close(found, expected)
