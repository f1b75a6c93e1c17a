"""Packs of torch's own recurrent networks, for comparison and not for speed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from workers.models.mixed_precision import RECURRENCES, autocast_for
from workers.models.packed_model import PackedModel, all_of_class, stacked_parameters
from workers.models.recurrent import RecurrentModel
from workers.models.sequence_model import SequenceModel


class TorchPack(PackedModel):
    """Stacked parameters of torch.nn.RNN, GRU or LSTM. The trials are computed one after another."""

    def __init__(self, trials: Sequence[SequenceModel]) -> None:
        super().__init__(trials)
        own = all_of_class(nn.RNNBase, [trial.recurrent for trial in all_of_class(RecurrentModel, trials)])
        like = own[0]
        self.parameters |= stacked_parameters(own, "recurrent")
        self._set_state_shape(like.num_layers, like.hidden_size)
        self._mode = like.mode
        if self._mode == "LSTM":
            self.state_size = 2 * self.hidden_size
        self._names = [f"recurrent.{name}" for name, _ in like.named_parameters()]

    def _read(self, inputs: Tensor, h0: Tensor, lengths: Tensor | None, every: bool) -> tuple[Tensor, Tensor]:
        with autocast_for(self._mode, inputs.device):
            found = [
                self._one(k, inputs[k], h0[k], None if lengths is None else lengths[k]) for k in range(self.trials)
            ]
        state = torch.stack([state for _, state in found])
        return (torch.stack([states for states, _ in found]) if every else self.top(state)), state

    def _one(self, k: int, inputs: Tensor, h0: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return all states of trial k, shape (B, T, H), and its last ones, shape (L, B, S).

        Args:
            k: The row of the trial.
            inputs: Shape (B, T, I).
            h0: The states before the first step, shape (L, B, S).
            lengths: The steps of each sequence, shape (B,); None if all have T steps.
        """
        weights = [self.parameters[name][k] for name in self._names]
        run = RECURRENCES[self._mode]
        # In torch's order: biases, layers, dropout, training, bidirectional. cuDNN has gradients in training alone.
        options = (True, self.layers, 0.0, torch.is_grad_enabled(), False)
        if lengths is None:
            states, *state = run(inputs, self._parts(h0), weights, *options, True)
            return states, torch.cat(state, -1)
        packed = pack_padded_sequence(inputs, lengths.cpu(), batch_first=True, enforce_sorted=False)
        order, back = packed.sorted_indices, packed.unsorted_indices
        assert order is not None
        assert back is not None
        h0 = h0.index_select(1, order)
        data, *state = run(packed.data, packed.batch_sizes, self._parts(h0), weights, *options)
        states, _ = pad_packed_sequence(packed._replace(data=data), batch_first=True, total_length=inputs.shape[1])
        return states, torch.cat(state, -1).index_select(1, back)

    def _parts(self, state: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return a state in the form that torch expects: h, or (h, c) for an LSTM."""
        if self._mode != "LSTM":
            return state.contiguous()
        return tuple(part.contiguous() for part in state.chunk(2, -1))
