"""The public entry points of the recurrence. Each runs on the backend that its arguments ask for."""

from torch import Tensor

from spectral.autocast import without_autocast
from spectral.recurrence.activation import Activation
from spectral.recurrence.backends import BACKENDS, Cell
from spectral.recurrence.choice import choose_dense
from spectral.recurrence.shapes import check_matrix, check_offset
from spectral.recurrence.stack import stack
from spectral.sequences import check_lengths
from spectral.transition import Transition


def recurrence(
    z: Tensor,
    h0: Tensor,
    transition: Transition,
    activation: Activation,
    *,
    offset: Tensor | None = None,
    backend: str = "auto",
    checkpoint_every: int | None = None,
) -> Tensor:
    """Return all states of h_t = phi(z_t + W h_{t-1}).

    Computes in the dtype of the transition, also under autocast. The backend ``triton`` stores states in bfloat16 under
    autocast to bfloat16.

    Args:
        z: The summed inputs M x_t + b, shape (T, B, n), or (K, T, B, n) in a pack; T >= 1, B may be 0.
        h0: The state before the first step, shape (B, n), or (K, B, n).
        transition: W, without batch dimensions, or with a leading K.
        activation: The nonlinearity phi.
        offset: The offset of modReLU, shape (n,), or (K, n); None for the other nonlinearities.
        backend: 'auto', or the name of a backend; see ``BACKENDS``.
        checkpoint_every: S >= 1: keep only every S-th state for backward, and compute the others again. None keeps all.

    Returns:
        The states, in the shape of z.

    Raises:
        ShapeError: If a shape or a dtype does not fit the others, or if ``modrelu`` has no offset.
        OptionError: If the backend does not exist or cannot run here, or if an offset is given without ``modrelu``.
        RangeError: If ``checkpoint_every`` is below 1.
    """
    cell = Cell(None, None, transition, offset)
    states, _ = stack(z, h0.unsqueeze(-3), [cell], activation, backend=backend, checkpoint_every=checkpoint_every)
    assert states is not None
    return states


def layer(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    h0: Tensor,
    transition: Transition,
    activation: Activation,
    *,
    offset: Tensor | None = None,
    backend: str = "auto",
    checkpoint_every: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Return all states of h_t = phi(M x_t + b + W h_{t-1}), and the last one.

    A loss that reads only the last state should use the second result: its gradient then needs less memory.

    Args:
        x: The input, shape (T, B, I), or (K, T, B, I) in a pack; T >= 1.
        weight: M, shape (n, I), or (K, n, I).
        bias: b, shape (n,), or (K, n); or None.
        h0: The state before the first step, shape (B, n), or (K, B, n).
        transition: As in ``recurrence``, and so are the arguments after it.
        activation: The nonlinearity phi.
        offset: The offset of modReLU.
        backend: 'auto', or the name of a backend.
        checkpoint_every: Keep only every S-th state for backward.

    Returns:
        All states, shape (T, B, n), and the last state, shape (B, n); both with a leading K in a pack.

    Raises:
        SpectralError: As ``recurrence`` does.
    """
    cells = [Cell(weight, bias, transition, offset)]
    states, last = stack(x, h0.unsqueeze(-3), cells, activation, backend=backend, checkpoint_every=checkpoint_every)
    assert states is not None
    return states, last.squeeze(-3)


def last_state(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    h0: Tensor,
    transition: Transition,
    activation: Activation,
    *,
    offset: Tensor | None = None,
    lengths: Tensor | None = None,
    backend: str = "auto",
    checkpoint_every: int | None = None,
) -> Tensor:
    """Return the last state of h_t = phi(M x_t + b + W h_{t-1}) alone.

    With ``checkpoint_every`` no array of the size of all states is ever made, neither forward nor backward.

    Args:
        x: The arguments are those of ``layer``.
        weight: M.
        bias: b, or None.
        h0: The state before the first step.
        transition: W.
        activation: The nonlinearity phi.
        offset: The offset of modReLU.
        lengths: How many steps of each sequence count, integers of shape (B,), or (K, B), each in [1, T]; None is T.
        backend: 'auto', or the name of a backend.
        checkpoint_every: Keep only every S-th state for backward.

    Returns:
        The state after the last step that counts, shape (B, n), or (K, B, n).

    Raises:
        RangeError: If a length is not an integer in [1, T].
        SpectralError: As ``recurrence`` does.
    """
    if lengths is not None:
        lengths = check_lengths(lengths, x.shape[-3], tuple(x.shape[:-3]), (x.shape[-2],))
    _, last = stack(
        x,
        h0.unsqueeze(-3),
        [Cell(weight, bias, transition, offset)],
        activation,
        lengths=lengths,
        backend=backend,
        checkpoint_every=checkpoint_every,
        keep_states=False,
    )
    return last.squeeze(-3)


def dense_recurrence(
    z: Tensor, h0: Tensor, matrix: Tensor, activation: Activation, *, offset: Tensor | None = None
) -> Tensor:
    """Return all states of h_t = phi(z_t + W h_{t-1}) for a matrix W that is given as a tensor.

    The compiled loop runs where it can, on a GPU the kernel for a given W, else a loop in torch. Computes in the dtype
    of the matrix, also under autocast.

    Args:
        z: The summed inputs M x_t + b, shape (T, B, n), or (K, T, B, n) in a pack; T >= 1.
        h0: The state before the first step, shape (B, n), or (K, B, n).
        matrix: W, shape (n, n), or (K, n, n).
        activation: The nonlinearity phi.
        offset: The offset of modReLU, shape (n,), or (K, n); None for the other nonlinearities.

    Returns:
        The states, in the shape of z.

    Raises:
        ShapeError: If a shape does not fit the others, T is 0, or ``modrelu`` has no offset.
        OptionError: If an offset is given without ``modrelu``.
    """
    check_matrix(z, h0, matrix)
    check_offset(offset, tuple(matrix.shape[:-1]), activation)
    name = choose_dense(matrix.shape[-1], z.device, matrix.dtype, pack=matrix.dim() == 3)
    z, h0 = z.to(matrix.dtype), h0.to(matrix.dtype).contiguous()
    offset = None if offset is None else offset.to(matrix.dtype)
    with without_autocast(z.device):
        return BACKENDS[name](z, h0, matrix, activation, offset)
