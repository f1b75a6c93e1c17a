"""torch's own inputs for RNN, LSTM, GRU and Linear, run through the modules that replace them.

Every input that torch tests its module with is given to ours, which is built with the same constructor arguments, and
the result is compared with that of the torch module that ``to_rnn``, ``to_lstm`` or ``to_gru`` returns.
"""

import re

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence
from torch.testing._internal.common_modules import ModuleErrorEnum, module_db

from spectral import SpectralGRU, SpectralLinear, SpectralLSTM, SpectralRNN
from spectral.errors import ArgumentTypeError, OptionError, RangeError, ShapeError, SpectralError
from tests.spectral.agreement import assert_near, draw, gradients

OURS = {nn.RNN: SpectralRNN, nn.LSTM: SpectralLSTM, nn.GRU: SpectralGRU, nn.Linear: SpectralLinear}
COUNTS = {nn.RNN: 64, nn.LSTM: 32, nn.GRU: 32, nn.Linear: 3}
"""How many inputs torch has at least, so that a test that finds none fails."""
REFUSED = [
    (nn.RNN, (3, 4), {"bidirectional": 1}, ArgumentTypeError, "bidirectional must be True or False"),
    (nn.RNN, (3, 4), {"num_layers": True}, ArgumentTypeError, "num_layers must be an int"),
    (nn.GRU, (3, True), {}, ArgumentTypeError, "hidden_size must be an int"),
    (nn.GRU, (3, 4, 1, True, False, 0.0, False, 2), {}, OptionError, "proj_size is for LSTM alone"),
]
"""Calls that torch's constructors take and ours refuse, each by name; no input of torch's own tests is among them.

A flag must be a bool and a size an int, as torch itself asks for ``bias`` and ``batch_first``. torch's GRU takes a
``proj_size`` by position, and fails when it is called.
"""

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
recurrent = pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU], ids=lambda kind: kind.__name__)
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def module_info(kind):
    (info,) = [info for info in module_db if info.module_cls is kind]
    return info


def module_inputs(kind, dtype, training):
    torch.manual_seed(0)
    info = module_info(kind)
    options = {} if kind in (nn.Linear, nn.LSTM) else {"with_packed_sequence": True}
    drawn = info.module_inputs_func(info, device="cpu", dtype=dtype, requires_grad=True, training=training, **options)
    assert len(drawn) >= COUNTS[kind]
    return drawn


def built(kind, arguments, dtype):
    """Return our module, with singular values that have moved away from their centre, and torch's with its weights."""
    made = OURS[kind](*arguments.args, **arguments.kwargs, dtype=dtype, margin=0.5)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "singular" in name:
                parameter += draw(*parameter.shape).to(dtype)
    if kind is nn.Linear:
        plain = nn.Linear(*arguments.args, **arguments.kwargs, dtype=dtype)
        with torch.no_grad():
            plain.weight.copy_(made.dense())
            if made.bias is not None:
                plain.bias.copy_(made.bias)
        return made, plain
    return made, {nn.RNN: "to_rnn", nn.LSTM: "to_lstm", nn.GRU: "to_gru"}[kind]


def tensors(*values):
    """Return all tensors of nested tuples and PackedSequences in one list."""
    flat = []
    for value in values:
        if isinstance(value, PackedSequence):
            flat.append(value.data)
        elif isinstance(value, torch.Tensor):
            flat.append(value)
        elif value is not None:
            flat += tensors(*value)
    return flat


def assert_same_form(found, expected):
    assert type(found) is type(expected)
    if isinstance(expected, PackedSequence):
        assert torch.equal(found.batch_sizes, expected.batch_sizes)
        for own, torchs in zip(found[2:], expected[2:], strict=True):
            assert (own is None) == (torchs is None)
            assert own is None or torch.equal(own, torchs)
    elif isinstance(expected, tuple):
        for own, torchs in zip(found, expected, strict=True):
            assert_same_form(own, torchs)


@dtypes
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("kind", list(OURS), ids=lambda kind: kind.__name__)
def test_every_input_of_torch_gives_the_result_of_torch(kind, dtype, training):
    for given in module_inputs(kind, dtype, training):
        what = f"{kind.__name__}{given.constructor_input.args, given.constructor_input.kwargs}"
        made, plain = built(kind, given.constructor_input, dtype)
        made = made.train(training)
        plain = getattr(made, plain)() if isinstance(plain, str) else plain.train(training)
        args, kwargs = given.forward_input.args, given.forward_input.kwargs
        found, expected = made(*args, **kwargs), plain(*args, **kwargs)
        assert_same_form(found, expected)
        leaves = tensors(*args, *kwargs.values())
        joined = []
        for own, torchs in zip(tensors(found), tensors(expected), strict=True):
            assert own.dtype == dtype
            assert_near(own, torchs, 100, what)
            joined.append((own.double().flatten(), torchs.double().flatten()))
        grads = [gradients(torch.cat(each), leaves) for each in zip(*joined, strict=True)]
        for own, torchs in zip(*grads, strict=True):
            assert_near(own, torchs, 1000, what)


def run(kind, given, forward):
    made = OURS[kind](*given.constructor_input.args, **given.constructor_input.kwargs)
    assert forward, "the constructor raised nothing"
    made(*given.forward_input.args, **given.forward_input.kwargs)


@dtypes
@recurrent
def test_every_error_of_torch_is_an_error_of_the_same_kind_that_names_the_argument(kind, dtype):
    info = module_info(kind)
    drawn = info.module_error_inputs_func(info, device="cpu", dtype=dtype, requires_grad=False, training=True)
    assert drawn
    for error in drawn:
        given = error.module_error_input
        name = "input" if error.error_on is ModuleErrorEnum.FORWARD_ERROR else re.split(r"\W", error.error_regex)[0]
        with pytest.raises(error.error_type, match=rf"^{name}\b") as caught:
            run(kind, given, error.error_on is ModuleErrorEnum.FORWARD_ERROR)
        assert isinstance(caught.value, SpectralError)


@pytest.mark.parametrize(("kind", "args", "kwargs", "error", "message"), REFUSED)
def test_what_torch_takes_and_ours_refuse(kind, args, kwargs, error, message):
    kind(*args, **kwargs)
    with pytest.raises(error, match=message):
        OURS[kind](*args, **kwargs)


@recurrent
def test_arguments_by_position_are_in_the_order_of_torch(kind):
    nonlinearity = ("relu",) if kind is nn.RNN else ()
    args = (3, 4, 2, *nonlinearity, False, True, 0.25, True, 0, "cpu", torch.float64)
    names = ["input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional", "proj_size"]
    names += ["mode"] + (["nonlinearity"] if nonlinearity else [])
    made, plain = OURS[kind](*args), kind(*args)
    for name in names:
        assert getattr(made, name) == getattr(plain, name), name
        assert type(getattr(made, name)) is type(getattr(plain, name)), name
    assert made.weight_ih_l0.dtype == torch.float64


@pytest.mark.parametrize(
    ("kind", "args", "error", "message"),
    [
        (SpectralLSTM, (3, 8, 1, "tanh"), ArgumentTypeError, "bias must be True or False; found 'tanh', of type str"),
        (SpectralRNN, (3, 8, 1, True), OptionError, "nonlinearity must be one of"),
        (SpectralGRU, (3, 8, 1, True, False, 0.0, False, "cpu"), ArgumentTypeError, "pass device and dtype by name"),
        (SpectralLSTM, (3, 8, 1.0), ArgumentTypeError, "num_layers must be an int; found 1.0"),
        (SpectralLSTM, (3, 8, 1, True, False, "half"), RangeError, "dropout.* found 'half'"),
        (SpectralLSTM, (3, 8, 1, True, False, True), RangeError, "dropout.* found True"),
        (SpectralLSTM, (3, 8, 1, True, False, 0.0, False, 8), RangeError, "proj_size must be 0.* 1 to .* = 7; found 8"),
        (SpectralLSTM, (3, 8, 1, True, False, 0.0, False, -1), RangeError, "proj_size must be 0.* found -1"),
    ],
)
def test_an_argument_of_the_wrong_kind_is_named(kind, args, error, message):
    with pytest.raises(error, match=message):
        kind(*args)


def test_a_projection_is_refused_by_the_modules_that_have_none():
    for kind in (SpectralRNN, SpectralGRU):
        assert kind(3, 4, proj_size=0).proj_size == 0
        with pytest.raises(OptionError, match="proj_size is for LSTM alone, as in torch; here it must be 0, and 2"):
            kind(3, 4, proj_size=2)


def test_an_integer_input_is_refused():
    for kind in (SpectralRNN, SpectralLSTM, SpectralGRU):
        with pytest.raises(ShapeError, match=r"input must have the dtype .*float32; found torch.int64"):
            kind(3, 4)(torch.zeros(5, 2, 3, dtype=torch.int64))
