# %% [markdown]
# # A spectral RNN in a plain torch loop
#
# `SpectralRNN` takes the place of `torch.nn.RNN`. What is its own: groups with rates of their own for reflectors and
# singular values, `normalize_()` after each step, and a look at the singular values, which cannot leave their band.
#
# The task is adding: each step brings a number and a marker; the answer is the sum of the two marked numbers. Always
# saying 1 gives a mean squared error of 1/6.

# %%
import torch
from torch import Tensor, nn

from spectral import SpectralRNN

STEPS, MARGIN = 40, 1 / 40  # over T steps a state grows by (1 + r)^T at most: r = 1 / T is the default advice
generator = torch.Generator().manual_seed(0)


def adding(count: int) -> tuple[Tensor, Tensor]:
    """Inputs (count, STEPS, 2) and sums (count, 1)."""
    values = torch.rand(count, STEPS, generator=generator)
    first = torch.randint(STEPS // 2, (count, 1), generator=generator)
    second = torch.randint(STEPS // 2, STEPS, (count, 1), generator=generator)
    markers = torch.zeros(count, STEPS).scatter(1, torch.cat([first, second], 1), 1.0)
    return torch.stack([values, markers], -1), (values * markers).sum(1, keepdim=True)


# %% The net, and its parameters by kind
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
        # d sigma / dp is r / 2: a narrow band would hold its singular values still at the rate of the others
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
    net.normalize_()  # W stays as it is; without this the steps of the reflectors shrink as they grow

# %% What it learned
with torch.no_grad():
    x, y = adding(2000)
    error = nn.functional.mse_loss(head(net.last_state(x)[-1]), y).item()
    sigma = net.singular_values()
print(f"mean squared error {error:.4f}; always saying 1 gives {1 / 6:.4f}")
print(f"singular values from {sigma.min():.4f} to {sigma.max():.4f}; the band is 1 -+ {MARGIN}")
print(f"numbers learned in the recurrent layer: {net.free_parameters()}; torch.nn.RNN has {64 * (64 + 2 + 2)}")
