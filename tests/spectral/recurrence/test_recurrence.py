"""The law suite of all backends in the registry: outputs and every gradient are compared with the reference."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectral import BACKENDS, Activation, Transition, layer, recurrence
from spectral.errors import OptionError, RangeError, ShapeError
from spectral.recurrence import dense as dense_backend
from spectral.recurrence import native, torch_loop
from spectral.recurrence.activation import NAMES
from spectral.recurrence.backends import LAYERS, Cell
from spectral.recurrence.stack import stack
from spectral.transition import dense, factors
from tests.spectral.agreement import (
    LAW,
    activations,
    assert_near,
    draw,
    gradients,
    inputs,
    named,
    offset,
    there,
    transition,
    trial_axis,
    two_if_interpreted,
)

FAST = sorted(set(BACKENDS) - {"reference"})
backends = pytest.mark.parametrize("backend", [named(name) for name in FAST])


def leads_of(backend):
    """Return the trial axes that a backend is tried with: one for Triton, whose interpreter is slow."""
    return [(3,)] if backend.startswith("triton") else [(), (1,), (3,)]


def of_every(names):
    """Parametrize with backends, their nonlinearities and numbers of trials."""
    leads = {name: leads_of(name) for name in names}
    return pytest.mark.parametrize(
        ("backend", "name", "lead"),
        [named(backend, name, lead) for backend in names for name in activations(backend) for lead in leads[backend]],
        ids=str,
    )


def reads_of(backend, name):
    """Return what a loss reads of a layer: of most nonlinearities in Triton's interpreter only both at once."""
    return ("all states", "the last state", "both") if name in two_if_interpreted(backend) else ("both",)


cells = of_every(FAST)


def assert_backend(backend, z, h0, matrix: Transition, activation: Activation):
    b = offset(activation.name, matrix.size, lead=matrix.sigma.shape[:-1])
    inputs = there(z, h0, *matrix, b)
    found = recurrence(z, h0, matrix, activation, offset=b, backend=backend)
    expected = recurrence(z, h0, matrix, activation, offset=b, backend="reference")
    size = z.shape[-3] * max(1, z.shape[-2]) * matrix.size * (matrix.rank + 1)
    assert_near(found, expected, size, f"{backend}: states")
    names = ("z", "h0", "sigma", "u", "v", "b")[: len(inputs)]
    for name, f, e in zip(names, gradients(found, inputs), gradients(expected, inputs), strict=True):
        assert_near(f, e, size, f"{backend}: gradient of {name}")


@pytest.mark.parametrize("name", ["tanh", "identity"])
@pytest.mark.parametrize(
    ("backend", "lead"), [named(backend, lead) for backend in FAST for lead in leads_of(backend)], ids=str
)
def test_float32_is_near_the_reference_in_float64(backend, name, lead):
    """Only smooth activations: one flipped sign of relu in float32 changes a gradient by much more than rounding."""
    if name not in activations(backend):
        pytest.skip(f"{backend} has no {name}")
    n, steps, batch = 20, 12, 5
    matrix = Transition(*(t.detach().float().requires_grad_() for t in transition(n, 3, 4, lead=lead)))
    z, h0 = (t.detach().float().requires_grad_() for t in inputs(lead, steps, batch, n))
    exact = [t.detach().double().requires_grad_() for t in (z, h0, *matrix)]
    found = recurrence(z, h0, matrix, Activation(name), backend=backend)
    expected = recurrence(*exact[:2], Transition(*exact[2:]), Activation(name), backend="reference")
    assert found.dtype == torch.float32
    size = steps * batch * n * 8
    assert_near(found, expected.float(), size, "states")
    weight = draw(*found.shape, seed=9)
    grads = torch.autograd.grad((found * weight.float()).sum(), [z, h0, *matrix])
    for f, e in zip(grads, torch.autograd.grad((expected * weight).sum(), exact), strict=True):
        assert_near(f, e.float(), size)


@cells
@pytest.mark.parametrize(
    ("n", "m1", "m2", "steps", "batch"),
    [
        pytest.param(1, 1, 1, 3, 2, id="n=1"),
        pytest.param(1, 0, 0, 1, 1, id="no reflectors"),
        pytest.param(7, 3, 2, 5, 3, id="odd n"),
        pytest.param(6, 2, 3, 1, 4, id="one step"),
        pytest.param(5, 5, 5, 4, 2, id="full set"),
        pytest.param(8, 1, 6, 4, 2, id="m1 and m2 apart"),
        pytest.param(8, 0, 3, 4, 2, id="no u"),
        pytest.param(4, 2, 2, 3, 0, id="empty batch"),
    ],
)
def test_backend_agrees_with_the_reference(backend, lead, name, n, m1, m2, steps, batch):
    z, h0 = inputs(lead, steps, batch, n)
    assert_backend(backend, z, h0, transition(n, m1, m2, lead=lead), Activation(name))


@backends
@LAW
@given(data=st.data())
def test_backend_agrees_with_the_reference_on_drawn_shapes(backend, data):
    n = data.draw(st.integers(1, 24), label="n")
    m1, m2 = (data.draw(st.integers(0, n), label=m) for m in ("m1", "m2"))
    most = 4 if backend.startswith("triton") else 12  # an interpreter takes one step after another
    steps, batch = data.draw(st.integers(1, most), label="T"), data.draw(st.integers(0, 5), label="B")
    lead = data.draw(st.sampled_from([(), (2,)]), label="lead")
    z, h0 = inputs(lead, steps, batch, n)
    name = data.draw(st.sampled_from(activations(backend)), label="nonlinearity")
    assert_backend(backend, z, h0, transition(n, m1, m2, lead=lead), Activation(name, 0.2))


@cells
@pytest.mark.parametrize("layers", [1, 2])
def test_the_last_state_without_gradients(backend, name, lead, layers):
    """Check the last state where a backend keeps no other state."""
    n, features = 6, 3
    matrices = [transition(n, 2, 3, lead=lead, seed=10 * i) for i in range(layers)]
    parts = []
    for i, matrix in enumerate(matrices):
        weight, bias = draw(*lead, n, features if i == 0 else n, seed=i), draw(*lead, n, seed=i + 3)
        parts.append(Cell(weight, bias, matrix, offset(name, n, lead=lead, seed=i)))
    x, h0 = draw(*lead, 5, 9, features), draw(*lead, layers, 9, n)
    _, expected = stack(x, h0, parts, Activation(name), backend=backend)
    with torch.no_grad():
        states, found = stack(x, h0, parts, Activation(name), backend=backend, keep_states=False)
    assert states is None
    assert_near(found, expected, 5 * 9 * n * n)


@pytest.mark.parametrize("backend", ["native", "native_dense"])
@pytest.mark.parametrize(("lead", "steps"), [((), 48), ((2,), 24)], ids=["alone", "K=2"])
@pytest.mark.parametrize("n", [64, 61])
def test_states_too_many_for_the_caches(backend, lead, steps, n):
    """Above 4 MiB the native loop streams whole vectors past the caches; rows of n = 61 are not whole vectors."""
    batch = 180
    z, h0 = inputs(lead, steps, batch, n)
    assert z.numel() * z.element_size() > 2**22
    matrix = transition(n, 2, 1, lead=lead)
    assert_backend(backend, z, h0, matrix, Activation("relu"))
    expected = recurrence(z, h0, matrix, Activation("relu"), backend=backend)[..., -1, :, :]
    with torch.no_grad():
        cells = [Cell(None, None, matrix)]
        _, found = stack(z, h0.unsqueeze(-3), cells, Activation("relu"), backend=backend, keep_states=False)
    assert torch.equal(found.squeeze(-3), expected)


@pytest.mark.parametrize("offset_is", [-0.5, 0.0, 0.5])
def test_modrelu_at_its_kinks_is_zero_with_gradient_zero(offset_is):
    """At z = 0 and |z| = -b. Padded units rely on it."""
    x = torch.tensor([[0.0, -0.5, 0.5, 2.0, -2.0]], dtype=torch.float64, requires_grad=True)
    b = torch.full((5,), offset_is, dtype=torch.float64, requires_grad=True)
    phi, size = Activation("modrelu"), (x.detach().abs() + offset_is).clamp(min=0)
    h = phi(x, b)
    assert torch.equal(h, x.detach().sign() * size)
    grad_x, grad_b = torch.autograd.grad(h.sum(), [x, b])
    assert torch.equal(grad_x, phi.derivative(h.detach()))
    assert torch.equal(grad_b, h.detach().sign().sum(0))


@backends
@trial_axis
def test_zero_reflectors_get_a_gradient_of_exactly_zero(backend, lead):
    matrix = transition(6, 4, 3, lead=lead)
    with torch.no_grad():
        matrix.u[..., 1] = 0
        matrix.v[..., 2] = 0
    z, h0 = inputs(lead, 4, 3, 6)
    assert_backend(backend, z, h0, matrix, Activation("tanh"))
    out = recurrence(z, h0, matrix, Activation("tanh"), backend=backend)
    grad_u, grad_v = gradients(out, [matrix.u, matrix.v])
    assert not grad_u[..., 1].any()
    assert not grad_v[..., 2].any()


@backends
@trial_axis
def test_non_contiguous_input(backend, lead):
    shape = (*lead, 3, 5, 6)
    z = draw(*shape).transpose(-2, -3).requires_grad_()
    h0 = draw(*lead, 6, 3).mT.requires_grad_()
    assert_backend(backend, z, h0, transition(6, 2, 3, lead=lead), Activation("relu"))


@backends
def test_expanded_gradient_and_input(backend):
    matrix = transition(4, 2, 2)
    z = draw(1, 1, 4).expand(5, 3, 4).requires_grad_()
    out = recurrence(z, torch.zeros(3, 4, dtype=z.dtype), matrix, Activation("tanh"), backend=backend)
    (grad,) = torch.autograd.grad(out.sum(), [matrix.u])
    expected = recurrence(z, torch.zeros(3, 4, dtype=z.dtype), matrix, Activation("tanh"), backend="reference")
    assert_near(grad, torch.autograd.grad(expected.sum(), [matrix.u])[0], 400)


@backends
def test_a_nan_in_one_trial_leaves_the_others_as_they_are_bit_for_bit(backend):
    matrix = transition(6, 2, 3, lead=(3,))
    z, h0 = inputs((3,), 4, 3, 6)
    clean = recurrence(z, h0, matrix, Activation("relu"), backend=backend)
    broken_z = z.detach().clone()
    broken_z[1, 2, 0, 3] = torch.nan
    broken_z.requires_grad_()
    broken = recurrence(broken_z, h0, matrix, Activation("relu"), backend=backend)
    assert broken[1].isnan().any()
    pairs = zip(
        [clean, *gradients(clean, [z, h0, *matrix])], [broken, *gradients(broken, [broken_z, h0, *matrix])], strict=True
    )
    for whole, beside_nan in pairs:
        assert torch.equal(whole[[0, 2]], beside_nan[[0, 2]])


@backends
def test_only_some_gradients_are_wanted(backend):
    matrix = Transition(*(t.detach() for t in transition(5, 2, 2)))
    z, h0 = inputs((), 4, 2, 5)
    found = recurrence(z, h0, matrix, Activation("tanh"), backend=backend)
    expected = recurrence(z, h0, matrix, Activation("tanh"), backend="reference")
    for f, e in zip(gradients(found, [z, h0]), gradients(expected, [z, h0]), strict=True):
        assert_near(f, e, 100)


@pytest.mark.parametrize("backend", ["native", "native_dense", "torch_loop", named("triton"), named("triton_dense")])
def test_a_second_derivative_is_refused_by_name(backend):
    """Asking for it is no error before it is taken; it is never silently incomplete."""
    z, h0 = inputs((), 3, 2, 4)
    states = recurrence(z, h0, transition(4, 1, 2), Activation("tanh"), backend=backend)
    (grad,) = torch.autograd.grad(states.sum(), [z], create_graph=True)
    with pytest.raises(NotImplementedError, match="second derivatives use backend='dense'"):
        torch.autograd.grad(grad.square().sum(), [z])


@pytest.mark.parametrize("name", activations("dense"))
@trial_axis
def test_the_dense_backend_has_a_second_derivative(lead, name):
    z, h0 = inputs(lead, 3, 2, 4)
    matrix, b = transition(4, 1, 2, lead=lead), offset(name, 4, lead=lead)

    def run(z, h0, sigma, u, v, *rest):
        return recurrence(
            z, h0, Transition(sigma, u, v), Activation(name), offset=rest[0] if rest else None, backend="dense"
        )

    assert torch.autograd.gradgradcheck(run, tuple(there(z, h0, *matrix, b)), fast_mode=True)


def test_the_reference_can_be_differentiated_twice():
    """The error message of the other backends advises it."""
    z, h0 = inputs((), 2, 1, 3)
    matrix = transition(3, 1, 1)

    def states(z, *matrix):
        return recurrence(z, h0.detach(), Transition(*matrix), Activation("tanh"), backend="reference")

    assert torch.autograd.gradgradcheck(states, (z, *matrix), fast_mode=True)


@pytest.mark.parametrize("backend", ["native", "native_dense", "torch_loop"])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda cell: cell._replace(weight=cell.weight[:3]), "M must have shape"),
        (lambda cell: cell._replace(weight=cell.weight.float()), "M must have sigma's dtype"),
        (lambda cell: cell._replace(bias=cell.bias[:1]), "bias must have shape"),
        (lambda cell: cell._replace(bias=cell.bias.float()), "bias must have sigma's dtype"),
        (lambda cell: cell._replace(matrix=cell.matrix._replace(u=cell.matrix.u.float())), "u must have sigma"),
        (lambda cell: cell._replace(matrix=cell.matrix._replace(v=cell.matrix.v[:-1])), "v must have shape"),
    ],
)
def test_tensors_that_do_not_go_together_are_refused(backend, wrong, message):
    cell = wrong(Cell(draw(8, 3), draw(8), transition(8, 2, 2)))
    with pytest.raises(ShapeError, match=message):
        stack(draw(4, 5, 3), draw(1, 5, 8), [cell], Activation("relu"), backend=backend)


@pytest.mark.parametrize("name", NAMES)
@trial_axis
def test_gradcheck_of_the_hand_written_backwards(name, lead):
    z, h0 = inputs(lead, 3, 2, 4)
    matrix = transition(4, 1, 2, lead=lead)
    sigma, a, c = (t.detach().requires_grad_() for t in factors(matrix))
    w, b = dense(matrix).detach().requires_grad_(), offset(name, 4, lead=lead)
    assert torch.autograd.gradcheck(torch_loop.FORWARD, (z, h0, sigma, a, c, b, name, 0.01))
    assert torch.autograd.gradcheck(dense_backend.FORWARD, (z, h0, w, b, name, 0.01))


@pytest.mark.parametrize(
    ("backend", "name", "lead", "loss_reads"),
    [
        named(backend, name, lead, loss_reads)
        for backend in sorted(LAYERS)
        for name in activations(backend)
        for lead in leads_of(backend)
        for loss_reads in reads_of(backend, name)
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("n", "m1", "m2", "steps", "batch", "features"),
    [
        pytest.param(1, 1, 1, 1, 1, 1, id="n=1"),
        pytest.param(13, 3, 4, 7, 11, 5, id="odd"),
        pytest.param(50, 0, 2, 5, 16, 1, id="several vectors"),
        pytest.param(4, 2, 2, 3, 0, 2, id="empty batch"),
    ],
)
def test_layer_agrees_with_the_reference(backend, lead, name, loss_reads, n, m1, m2, steps, batch, features):
    if backend.startswith("triton"):
        batch = min(batch, 5)  # an interpreter runs one row after another
    x, h0 = draw(*lead, steps, batch, features), draw(*lead, batch, n, seed=1).requires_grad_()
    weight, bias = draw(*lead, n, features, seed=2).requires_grad_(), draw(*lead, n, seed=3).requires_grad_()
    matrix, b = transition(n, m1, m2, lead=lead), offset(name, n, lead=lead)
    wanted = there(weight, bias, h0, *matrix, b)

    def loss(states, last):
        parts = {"all states": [states], "the last state": [last], "both": [states, last]}[loss_reads]
        return torch.cat([part.flatten() for part in parts])

    found = loss(*layer(x, weight, bias, h0, matrix, Activation(name), offset=b, backend=backend))
    z = torch.einsum("...tbi,...ni->...tbn", x, weight) + bias.unsqueeze(-2).unsqueeze(-2)
    states = recurrence(z, h0, matrix, Activation(name), offset=b, backend="reference")
    expected = loss(states, states[..., -1, :, :])
    size = steps * max(1, batch) * n * (m1 + m2 + features + 1)
    assert_near(found, expected, size, "states")
    names = ("M", "bias", "h0", "sigma", "u", "v", "b")[: len(wanted)]
    for what, f, e in zip(names, gradients(found, wanted), gradients(expected, wanted), strict=True):
        assert_near(f, e, size, f"gradient of {what}")


@backends
def test_layer_gives_its_input_a_gradient_where_one_is_wanted(backend):
    x = draw(4, 3, 2).requires_grad_()
    weight, matrix, h0 = draw(5, 2, seed=2), transition(5, 2, 2), draw(3, 5, seed=1)
    states, _ = layer(x, weight, None, h0, matrix, Activation("tanh"), backend=backend)
    expected = recurrence(x @ weight.mT, h0, matrix, Activation("tanh"), backend="reference")
    assert_near(gradients(states, [x])[0], gradients(expected, [x])[0], 60)


@pytest.mark.parametrize("backend", ["native", "native_dense"])
def test_threads_and_slices_change_nothing(backend):
    matrix, h0 = transition(20, 3, 3, lead=(2,)), draw(2, 21, 20, seed=1)
    z = draw(2, 6, 21, 20).requires_grad_()
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            states = recurrence(z, h0, matrix, Activation("tanh"), backend=backend)
            found.append([states, *gradients(states, [z, *matrix])])
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, three) for one, three in zip(*found, strict=True))


def test_what_is_refused():
    z, h0 = inputs((), 2, 1, 4)
    matrix = transition(4, 1, 1)
    with pytest.raises(OptionError, match="torch_loop"):
        recurrence(z, h0, matrix, Activation("tanh"), backend="fast")
    with pytest.raises(OptionError, match="leaky_relu"):
        Activation("sine")
    with pytest.raises(RangeError, match="relu"):
        Activation("leaky_relu", 0.0)
    with pytest.raises(ShapeError, match=r"offset of shape \(4,\)"):
        recurrence(z, h0, matrix, Activation("modrelu"), offset=draw(1, 4))
    with pytest.raises(ShapeError, match="found None"):
        recurrence(z, h0, matrix, Activation("modrelu"))
    with pytest.raises(OptionError, match="takes no offset"):
        recurrence(z, h0, matrix, Activation("tanh"), offset=draw(4))
    with pytest.raises(OptionError, match="supports only tanh, relu;"):
        recurrence(z, h0, matrix, Activation("modrelu"), offset=draw(4), backend="cudnn")
    with pytest.raises(ShapeError, match="must have shape"):
        recurrence(z[..., :3], h0, matrix, Activation("tanh"))
    with pytest.raises(ShapeError, match="h0 must have shape"):
        recurrence(z, h0[..., :3], matrix, Activation("tanh"))
    with pytest.raises(ShapeError, match="at least one step"):
        recurrence(z[:0], h0, matrix, Activation("tanh"))


@pytest.mark.parametrize("built", [True, False])
def test_auto_runs_modrelu_wherever_it_is(monkeypatch, built):
    if not built:
        monkeypatch.setattr(native, "available", lambda device, dtype: False)
    z, h0 = inputs((), 3, 2, 50)
    assert_backend("auto", z, h0, transition(50, 2, 2), Activation("modrelu"))
