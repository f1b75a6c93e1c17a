# %% [markdown]
# # A spectral RNN in a plain torch loop
#
# `SpectralRNN` replaces `torch.nn.RNN`. Three things are new: reflectors and singular values get parameter groups with
# separate learning rates, `normalize_()` is called after each step, and the singular values cannot leave their band.
#
# The task is adding: each step has a number and a marker, and the answer is the sum of the two marked numbers. Always
# answering 1 has a mean squared error of 1/6.

# %%
import torch
from torch import Tensor, nn

from spectral import SpectralRNN

STEPS, MARGIN = 40, 1 / 40  # over T steps a state grows by at most (1 + r)^T: r = 1 / T is the default advice
generator = torch.Generator().manual_seed(0)


def adding(count: int) -> tuple[Tensor, Tensor]:
    """Draw inputs (count, STEPS, 2) and their sums (count, 1)."""
    values = torch.rand(count, STEPS, generator=generator)
    first = torch.randint(STEPS // 2, (count, 1), generator=generator)
    second = torch.randint(STEPS // 2, STEPS, (count, 1), generator=generator)
    markers = torch.zeros(count, STEPS).scatter(1, torch.cat([first, second], 1), 1.0)
    return torch.stack([values, markers], -1), (values * markers).sum(1, keepdim=True)


# %% The net, and its parameter groups
net = SpectralRNN(2, 64, nonlinearity="relu", batch_first=True, reflectors=8, margin=MARGIN, generator=generator)
head = nn.Linear(64, 1)
with torch.no_grad():
    head.weight.uniform_(-0.125, 0.125, generator=generator)
    head.bias.zero_()

spectral = {*net.reflector_parameters(), *net.singular_parameters()}
optimizer = torch.optim.Adam(
    [
        {"params": [p for p in (*net.parameters(), *head.parameters()) if p not in spectral], "lr": 3e-3},
        {"params": list(net.reflector_parameters()), "lr": 3e-3},
        # d sigma / dp is r / 2: in a narrow band, singular values would hardly move at the rate of the others
        {"params": list(net.singular_parameters()), "lr": 3e-3 / MARGIN},
    ]
)

# %% Training
for _ in range(600):
    x, y = adding(64)
    loss = nn.functional.mse_loss(head(net.last_state(x)[-1]), y)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_([*net.parameters(), *head.parameters()], 1.0)
    optimizer.step()
    net.normalize_()  # W does not change; without this, reflectors grow and their steps shrink

# %% The result
with torch.no_grad():
    x, y = adding(2000)
    error = nn.functional.mse_loss(head(net.last_state(x)[-1]), y).item()
    sigma = net.singular_values()
print(f"mean squared error {error:.4f}; always answering 1 gives {1 / 6:.4f}")
print(f"singular values from {sigma.min():.4f} to {sigma.max():.4f}; the band is 1 -+ {MARGIN}")
print(f"numbers learned in the recurrent layer: {net.free_parameters()}; torch.nn.RNN has {64 * (64 + 2 + 2)}")
