"""to_step: one time step at a time, in eager mode, scripted, compiled and exported, is the whole sequence."""

import io

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from spectral import ScannedStep, SpectralGRU, SpectralLSTM, SpectralRNN
from spectral.errors import ConversionError, PackError, ShapeError
from tests.spectral.agreement import assert_near, draw, generator, move_offsets

T, B, FEATURES, N = 5, 3, 2, 8
DENSE = pytest.mark.parametrize("dense", [True, False], ids=["dense", "factored"])
KINDS = {
    name: (SpectralRNN, {"nonlinearity": name}) for name in ("tanh", "relu", "leaky_relu", "identity", "modrelu")
} | {"lstm": (SpectralLSTM, {}), "gru": (SpectralGRU, {}), "lstm with projection": (SpectralLSTM, {"proj_size": 4})}
every_kind = pytest.mark.parametrize("kind", KINDS)
cells = pytest.mark.parametrize("kind", ["tanh", "lstm", "gru"])


def build(kind: str, layers: int = 1, **options):
    cls, own = KINDS[kind]
    options = {"reflectors": 2, "margin": 0.3, "dtype": torch.float64, "generator": generator()} | own | options
    net = cls(FEATURES, N, layers, **options)
    with torch.no_grad():
        for i, parameter in enumerate(net.singular_parameters()):
            parameter += draw(*parameter.shape, seed=i)
    move_offsets(net)
    return net


def run(step, x: Tensor, hx=None):
    outputs = []
    for x_t in x:
        output, hx = step(x_t) if hx is None else step(x_t, hx)
        outputs.append(output)
    return torch.stack(outputs), hx


def side_by_side(h_n):
    return tree_map(lambda state: state.transpose(0, 1).flatten(1), h_n)


def assert_same(found, expected) -> None:
    for f, e in zip(tree_leaves(found), tree_leaves(expected), strict=True):
        assert_near(f, e, N)


def stored_and_loaded(save, load, program):
    file = io.BytesIO()
    save(program, file)
    file.seek(0)
    return load(file)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize(
    ("kind", "dense"), [(kind, d) for kind in KINDS for d in (True, False) if d or "proj" not in kind]
)
def test_steps_are_the_whole_sequence_and_go_on_from_its_state(kind, layers, dense):
    net, x = build(kind, layers), draw(2 * T, B, FEATURES)
    step = net.to_step(dense=dense)
    output, h_n = net(x)
    found, hx = run(step, x)
    assert_same((found, hx), (output, side_by_side(h_n)))
    prefix = side_by_side(net(x[:T])[1])
    assert_same(run(step, x[T:], prefix), (output[T:], side_by_side(h_n)))


@pytest.mark.parametrize("options", [{"bias": False}, {"spectrum": "fixed"}, {"batch_first": True, "dropout": 0.5}])
@cells
def test_options_of_the_module_are_those_of_its_step(kind, options):
    net, x = build(kind, 2, **options), draw(T, B, FEATURES)
    expected = net.eval()(x.transpose(0, 1))[0].transpose(0, 1) if net.batch_first else net.eval()(x)[0]
    assert_same(run(net.train().to_step(), x)[0], expected)


def test_large_matrices_of_low_rank_are_held_as_factors():
    def is_factored(net):
        return net.to_step().weight_hh is None

    assert not is_factored(SpectralRNN(2, 384, reflectors=8))
    assert is_factored(SpectralRNN(2, 512, reflectors=8))
    assert not is_factored(SpectralRNN(2, 512, reflectors=128))
    assert is_factored(SpectralGRU(2, 256, reflectors=8))
    assert not is_factored(SpectralLSTM(2, 256, proj_size=255, reflectors=8))


def test_a_step_keeps_the_matrices_of_its_making():
    net, x = build("gru"), draw(T, B, FEATURES)
    step, before = net.to_step(), net(x)[0]
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    assert_same(run(step, x)[0], before)
    assert not list(step.parameters())


@every_kind
def test_a_step_can_be_differentiated_by_its_input(kind):
    net, x = build(kind, 2), draw(T, B, FEATURES).requires_grad_()
    (expected,) = torch.autograd.grad(net(x)[0].pow(2).sum(), x)
    (found,) = torch.autograd.grad(run(net.to_step(), x)[0].pow(2).sum(), x)
    assert_same(found, expected)


def test_the_step_of_a_module_in_half_precision_computes_in_float32():
    net, x = build("tanh", dtype=torch.bfloat16), draw(T, B, FEATURES).bfloat16()
    found = run(net.to_step(), x.float())[0]
    assert found.dtype == torch.float32
    assert torch.equal(found.bfloat16(), net(x)[0])


def test_an_empty_batch_and_another_dtype():
    step = build("lstm", 2).to_step(dense=False)
    output, (h, c) = step(draw(0, FEATURES))
    assert output.shape == (0, N)
    assert h.shape == c.shape == (0, 2 * N)
    assert step.float()(torch.zeros(B, FEATURES))[0].dtype == torch.float32


def test_a_pack_or_a_bidirectional_module_has_no_step():
    with pytest.raises(PackError, match=r"take one out first with \.trial\(k\)"):
        SpectralRNN.pack([build("tanh"), build("tanh")]).to_step()
    with pytest.raises(ConversionError, match=r"bidirectional module cannot run step by step"):
        build("gru", bidirectional=True).to_step()
    with pytest.raises(ConversionError, match=r"proj_size=4.*no factored form"):
        build("lstm with projection").to_step(dense=False)


@pytest.mark.parametrize("layers", [1, 2])
@cells
def test_wrong_shapes_are_refused_by_name(kind, layers):
    step, x, size = build(kind, layers).to_step(), draw(B, FEATURES), layers * N
    name, state = ("h", lambda h: (h, draw(B, size))) if kind == "lstm" else ("hx", lambda h: h)
    for wrong in (draw(FEATURES), draw(B, FEATURES + 1), draw(1, B, FEATURES)):
        with pytest.raises(ShapeError, match=r"input must be one step of a batch, of shape \(B, 2\)"):
            step(wrong, state(draw(B, size)))
    for wrong in (draw(1, size), draw(B, size + N), draw(layers, B, N), draw(size)):
        with pytest.raises(ShapeError, match=rf"^{name} must have shape \(3, {size}\)"):
            step(x, state(wrong))
    if kind == "lstm":
        with pytest.raises(ShapeError, match=rf"^c must have shape \(3, {size}\)"):
            step(x, (draw(B, size), draw(1, size)))


@DENSE
@pytest.mark.parametrize("layers", [1, 2])
@cells
def test_a_scripted_step_can_be_saved_and_loaded(kind, layers, dense):
    net, x = build(kind, layers), draw(T, B, FEATURES)
    scripted = stored_and_loaded(torch.jit.save, torch.jit.load, torch.jit.script(net.to_step(dense=dense)))
    assert_same(run(scripted, x)[0], net(x)[0])
    assert_same(run(torch.jit.freeze(scripted), x)[0], net(x)[0])


@pytest.mark.parametrize("kind", ["relu", "modrelu"])
def test_nonlinearities_can_be_scripted(kind):
    net, x = build(kind), draw(T, B, FEATURES)
    assert_same(run(torch.jit.script(net.to_step()), x)[0], net(x)[0])


def zeros(net, batch: int):
    hx = draw(batch, net.num_layers * N).zero_()
    return (hx, hx.clone()) if net.mode == "LSTM" else hx


@pytest.mark.parametrize(("kind", "dense"), [("tanh", True), ("lstm", False), ("gru", True)])
def test_a_step_is_one_compiled_graph_and_an_exported_program_of_any_batch(kind, dense):
    torch._dynamo.reset()
    net, x = build(kind, 2), draw(T, B, FEATURES)
    step = net.to_step(dense=dense)
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    assert_same(run(compiled, x)[0], net(x)[0])
    batch = torch.export.Dim("batch")
    arguments = (x[0], zeros(net, B))
    dims = tree_map(lambda _: {0: batch}, arguments)
    for strict in (True, False):
        program = torch.export.export(step, arguments, dynamic_shapes=dims, strict=strict)
        exported = stored_and_loaded(torch.export.save, torch.export.load, program).module()
        other = draw(T, B + 2, FEATURES)
        assert_same(run(exported, other, zeros(net, B + 2))[0], net(other)[0])


@pytest.mark.parametrize("strict", [True, False], ids=["strict", "not strict"])
@cells
def test_a_scanned_step_is_an_exported_program_of_any_length(kind, strict):
    net, x = build(kind, 2), draw(T, B, FEATURES)
    scanned = ScannedStep(net.to_step())
    output, h_n = net(x)
    assert_same(scanned(x, zeros(net, B)), (output, side_by_side(h_n)))
    batch = torch.export.Dim("batch")
    dims = ({0: torch.export.Dim("time"), 1: batch}, tree_map(lambda _: {0: batch}, zeros(net, B)))
    program = torch.export.export(scanned, (x, zeros(net, B)), dynamic_shapes=dims, strict=strict)
    exported = stored_and_loaded(torch.export.save, torch.export.load, program).module()
    other = draw(T + 4, B + 2, FEATURES)
    output, h_n = net(other)
    assert_same(exported(other, zeros(net, B + 2)), (output, side_by_side(h_n)))
