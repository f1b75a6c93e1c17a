"""torch's compiler, exporter, tracer and transforms on the modules: the same numbers as in eager mode, in one graph."""

import io

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, grad, hessian, jacrev, jvp, stack_module_state, vmap

from spectral import SVD, SpectralGRU, SpectralLinear, SpectralLSTM, SpectralRNN, spectral_svd
from spectral.errors import OptionError
from tests.spectral.agreement import draw, generator, named

T, B, FEATURES, N = 6, 4, 3, 8
LENGTHS = torch.tensor([6, 2, 5, 1])
BACKENDS_OF_ONE_GRAPH = [
    named(name) for name in ("auto", "native", "native_dense", "torch_loop", "dense", "triton", "triton_dense")
]
"""Backends whose recurrence is one node; ``reference`` and ``cudnn`` on a CPU unroll all steps."""


def rnn(backend: str = "auto", **options) -> SpectralRNN:
    return SpectralRNN(FEATURES, N, 2, reflectors=2, backend=backend, generator=generator(), **options).double()


MODULES = {
    "rnn": lambda: rnn(),
    "rnn, both directions": lambda: rnn(bidirectional=True, nonlinearity="modrelu"),
    "rnn, segments": lambda: rnn(checkpoint_every=4),
    "rnn, penalty": lambda: rnn(spectrum="penalty"),
    "rnn, clip": lambda: rnn(spectrum="clip"),
    "rnn, pack": lambda: SpectralRNN.pack([rnn(), rnn()]),
    "lstm": lambda: SpectralLSTM(FEATURES, N, reflectors=2, generator=generator()).double(),
    "gru": lambda: SpectralGRU(FEATURES, N, reflectors=2, generator=generator()).double(),
    "linear": lambda: SpectralLinear(FEATURES, N, reflectors=2, generator=generator()).double(),
    "svd": lambda: SVD(N, FEATURES, generator=generator()).double(),
    "parametrized": lambda: spectral_svd(torch.nn.Linear(FEATURES, N).double(), "weight", reflectors=2),
}
modules = pytest.mark.parametrize("kind", MODULES)


@pytest.fixture(autouse=True)
def nothing_compiled_yet():
    torch._dynamo.reset()


def input_of(kind: str) -> Tensor:
    return draw(*((2,) if "pack" in kind else ()), T, B, FEATURES)


def leaves(output) -> list[Tensor]:
    return torch.utils._pytree.tree_leaves(output)


def assert_same(found, expected) -> None:
    for f, e in zip(leaves(found), leaves(expected), strict=True):
        torch.testing.assert_close(f, e, rtol=1e-10, atol=1e-12)


def loss_and_gradients(function, net, *arguments, **options) -> list[Tensor]:
    outputs = leaves(function(*arguments, **options))
    loss = sum(output.square().sum() for output in outputs)
    return [*outputs, *torch.autograd.grad(loss, list(net.parameters()))]


@modules
def test_one_compiled_graph_gives_the_same_outputs_and_gradients(kind):
    net, x = MODULES[kind](), input_of(kind)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    assert_same(loss_and_gradients(compiled, net, x), loss_and_gradients(net, net, x))


@pytest.mark.parametrize("kind", ["rnn", "rnn, both directions", "rnn, segments", "lstm", "gru"])
def test_padded_sequences_compile_and_export(kind):
    net, x = MODULES[kind](), input_of(kind)
    expected = loss_and_gradients(net, net, x, lengths=LENGTHS)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    assert_same(loss_and_gradients(compiled, net, x, lengths=LENGTHS), expected)
    exported = torch.export.export(net, (x,), {"lengths": LENGTHS}).module()
    assert_same(exported(x, lengths=LENGTHS), net(x, lengths=LENGTHS))


@pytest.mark.parametrize("backend", BACKENDS_OF_ONE_GRAPH)
def test_every_backend_compiles_in_one_graph_of_any_length_and_batch(backend):
    net, calls = rnn(backend), []

    def count(graph, inputs):
        calls.append(graph)
        return graph.forward

    compiled = torch.compile(net, fullgraph=True, dynamic=True, backend=count)
    for steps, batch in ((6, 4), (7, 5), (11, 3)):
        x = draw(steps, batch, FEATURES)
        assert_same(compiled(x), net(x))
    assert len(calls) == 1


def test_the_default_compiler_gives_the_same_training_step():
    net, x = rnn(), draw(T, B, FEATURES)
    compiled = torch.compile(net, fullgraph=True)
    assert_same(loss_and_gradients(compiled, net, x), loss_and_gradients(net, net, x))


@modules
def test_an_exported_program_gives_the_same_outputs_and_gradients_and_can_be_saved(kind):
    net, x = MODULES[kind](), input_of(kind)
    stored = io.BytesIO()
    torch.export.save(torch.export.export(net, (x,)), stored)
    stored.seek(0)
    exported = torch.export.load(stored).module()
    assert_same(loss_and_gradients(exported, exported, x), loss_and_gradients(net, net, x))


@pytest.mark.parametrize("backend", [*BACKENDS_OF_ONE_GRAPH, "reference", "cudnn"])
@pytest.mark.parametrize("strict", [True, False], ids=["strict", "not strict"])
def test_every_backend_can_be_exported(backend, strict):
    net, x = rnn(backend), draw(T, B, FEATURES)
    dims = None if backend in ("reference", "cudnn") else ({0: torch.export.Dim("T"), 1: torch.export.Dim("B")},)
    exported = torch.export.export(net, (x,), strict=strict, dynamic_shapes=dims).module()
    assert_same(exported(x), net(x))
    if dims:
        other = draw(T + 3, B + 2, FEATURES)
        assert_same(exported(other), net(other))


def test_an_ahead_of_time_compiled_program_runs_in_python(tmp_path):
    net, x = rnn().eval(), draw(T, B, FEATURES)
    package = torch._inductor.aoti_compile_and_package(
        torch.export.export(net, (x,)), package_path=str(tmp_path / "net.pt2")
    )
    assert_same(torch._inductor.aoti_load_package(package)(x), net(x))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_a_traced_module_can_be_saved_and_loaded():
    net, x = rnn(), draw(T, B, FEATURES)
    stored = io.BytesIO()
    with torch.no_grad():  # with gradients, torch's own check traces another way than the trace itself
        torch.jit.save(torch.jit.trace(net, (x,)), stored)
    stored.seek(0)
    assert_same(torch.jit.load(stored)(x), net(x))


def square(net, parameters, x) -> Tensor:
    return sum(output.square().sum() for output in leaves(functional_call(net, parameters, (x,))))


@modules
def test_gradients_by_torch_func(kind):
    net, x = MODULES[kind](), input_of(kind)
    parameters = dict(net.named_parameters())
    expected = torch.autograd.grad(square(net, parameters, x), list(parameters.values()))
    found = grad(lambda parameters: square(net, parameters, x))(parameters)
    assert_same(list(found.values()), list(expected))


@pytest.mark.parametrize("kind", [kind for kind in MODULES if "pack" not in kind])
def test_gradients_of_single_examples(kind):
    net, x = MODULES[kind](), input_of(kind)
    parameters = dict(net.named_parameters())

    def of_one(parameters, x):
        return square(net, parameters, x.unsqueeze(1))

    found = vmap(grad(of_one), in_dims=(None, 1))(parameters, x)
    for i in range(B):
        expected = torch.autograd.grad(of_one(parameters, x[:, i]), list(parameters.values()))
        assert_same([gradient[i] for gradient in found.values()], list(expected))


@pytest.mark.parametrize("backend", [*BACKENDS_OF_ONE_GRAPH, "reference"])
def test_a_vmapped_ensemble_is_a_pack(backend):
    nets = [rnn(backend) for _ in range(3)]
    with torch.no_grad():
        for k, net in enumerate(nets):
            for parameter in net.parameters():
                parameter.mul_(1 + 0.1 * k)
    x = draw(T, B, FEATURES)
    parameters, buffers = stack_module_state(nets)
    found = vmap(lambda p, b: functional_call(nets[0], (p, b), (x,)))(parameters, buffers)
    expected = SpectralRNN.pack(nets)(x.expand(3, *x.shape))
    assert_same(found, expected)
    packs = vmap(lambda x: SpectralRNN.pack(nets)(x)[0])(draw(2, 3, T, B, FEATURES))
    assert_same(packs, torch.stack([SpectralRNN.pack(nets)(part)[0] for part in draw(2, 3, T, B, FEATURES)]))


@pytest.mark.parametrize("backend", ["auto", "dense", "reference", "cudnn"])
def test_derivatives_in_forward_mode(backend):
    net, x, v = rnn(backend), draw(3, 2, FEATURES), draw(3, 2, FEATURES, seed=1)
    found = jvp(lambda x: net(x)[0], (x,), (v,))[1]
    plain = rnn("reference")
    jacobian = jacrev(lambda x: plain(x)[0])(x)
    assert_same(found, torch.einsum("tbnsci,sci->tbn", jacobian, v))


def test_second_derivatives_by_torch_func():
    net, x = rnn("dense"), draw(2, 1, FEATURES)
    found = hessian(lambda x: net(x)[0].pow(3).sum())(x)
    expected = torch.autograd.functional.hessian(lambda x: rnn("reference")(x)[0].pow(3).sum(), x)
    assert_same(found, expected)


@pytest.mark.parametrize("backend", ["native", "native_dense", "torch_loop", named("triton"), named("triton_dense")])
def test_derivatives_in_forward_mode_are_refused_by_name(backend):
    x = draw(T, B, FEATURES)
    with pytest.raises(NotImplementedError, match=r"no derivative in forward mode.*backend='dense'"):
        jvp(rnn(backend), (x,), (x,))


def test_vmap_over_torchs_own_rnn_is_refused_by_name():
    with pytest.raises(OptionError, match=r"torch\.vmap cannot transform"):
        vmap(rnn("cudnn"))(draw(2, T, B, FEATURES))


@pytest.mark.parametrize("kind", ["rnn", "rnn, segments", "rnn, penalty", "lstm", "gru"])
def test_a_backward_pass_inside_autocast_computes_as_one_outside(kind):
    net = MODULES[kind]().float()
    x = input_of(kind).float()
    with torch.autocast("cpu", torch.bfloat16):
        outputs = leaves(net(x))
        loss = sum(output.float().square().sum() for output in outputs)
        inside = torch.autograd.grad(loss, list(net.parameters()), retain_graph=True)
    outside = torch.autograd.grad(loss, list(net.parameters()))
    for f, e in zip(inside, outside, strict=True):
        torch.testing.assert_close(f, e, rtol=0.02, atol=0.02 * float(e.abs().max()))


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # torch runs an operator once for each of the batch
@pytest.mark.parametrize("backend", ["native", "native_dense", "torch_loop", "dense"])
def test_batched_gradients_are_those_taken_one_by_one(backend):
    net, x = rnn(backend), draw(3, 2, FEATURES).requires_grad_()
    output = net(x)[0]
    wanted = draw(4, *output.shape)
    inputs = [x, *net.parameters()]
    found = torch.autograd.grad(output, inputs, wanted, is_grads_batched=True, retain_graph=True)
    expected = [torch.autograd.grad(output, inputs, each, retain_graph=True) for each in wanted]
    assert_same(found, [torch.stack(one) for one in zip(*expected, strict=True)])


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("kind", ["rnn", "rnn, both directions", "rnn, segments", "lstm", "gru"])
def test_what_stands_past_an_end_changes_nothing(kind, compiled):
    """Not even NaN, which a product with a gradient of zero would spread."""
    net, x = MODULES[kind](), input_of(kind)
    function = torch.compile(net, fullgraph=True, backend="aot_eager") if compiled else net
    spoilt = x.masked_fill(torch.arange(T)[:, None, None] >= LENGTHS[:, None], torch.nan)
    found = loss_and_gradients(function, net, spoilt, lengths=LENGTHS)
    assert_same(found, loss_and_gradients(function, net, x, lengths=LENGTHS))


def test_a_float32_lstm_compiles_for_training_on_inputs_without_gradients():
    net, x = SpectralLSTM(FEATURES, N, reflectors=2, generator=generator()), draw(T, B, FEATURES).float()
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    for f, e in zip(loss_and_gradients(compiled, net, x), loss_and_gradients(net, net, x), strict=True):
        torch.testing.assert_close(f, e)


@pytest.mark.parametrize("reflectors", [0, (0, 2), (2, 0)], ids=str)
@pytest.mark.parametrize("kind", [SpectralRNN, SpectralLSTM, SpectralLinear])
def test_no_reflectors_at_all_compile_export_and_have_shapes_on_meta(kind, reflectors):
    net, x = kind(FEATURES, FEATURES, reflectors=reflectors), draw(T, B, FEATURES).float()
    expected = leaves(net(x))
    for function in (
        torch.compile(net, fullgraph=True, backend="aot_eager"),
        torch.export.export(net, (x,)).module(),
    ):
        for f, e in zip(leaves(function(x)), expected, strict=True):
            torch.testing.assert_close(f, e)
    on_meta = kind(FEATURES, FEATURES, reflectors=reflectors, device="meta")(x.to("meta"))
    assert [found.shape for found in leaves(on_meta)] == [e.shape for e in expected]


def test_a_compiled_net_called_under_autocast_has_the_gradients_of_one_that_is_not():
    net = SpectralRNN(FEATURES, N, reflectors=2, backend="native", generator=generator())
    x = draw(T, B, FEATURES).float()
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    with torch.autocast("cpu", torch.bfloat16):
        loss = compiled(x)[0].square().sum()
    found = torch.autograd.grad(loss, [net.reflectors_u_l0, net.reflectors_v_l0, net.singular_l0])
    expected = torch.autograd.grad(
        net(x)[0].square().sum(), [net.reflectors_u_l0, net.reflectors_v_l0, net.singular_l0]
    )
    for f, e in zip(found, expected, strict=True):
        torch.testing.assert_close(f, e, rtol=1e-4, atol=1e-5)
