"""The trials of a pack on a device: an optimiser step of all of them at once, and their measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from workers.errors import is_out_of_memory
from workers.models import pack, stack, unstack_trial
from workers.models.packed_model import Tensors, put_row
from workers.models.recurrent import last_state_of
from workers.spec.training import TrainingSpec
from workers.tasks import Split
from workers.training import fused
from workers.training.batches import Batch, TaskData
from workers.training.device_draws import draws_of
from workers.training.diagnostics import LastStep, measure
from workers.training.feed import BatchFeed
from workers.training.metrics import losses, scores
from workers.training.optimizers import OPTIMIZERS
from workers.training.records import Readings, StepRecords
from workers.training.step_graph import StepGraph
from workers.training.training_state import TrainingState


class StepGradients(NamedTuple):
    """What a step computes before it changes anything.

    Attributes:
        parameters: The gradient of each parameter, in the order of the model's.
        loss: The loss of each trial, shape (K,), or parts of it, which add up to it, shape (K, ...).
        carried: The state after the last step, shape (K, L, B, S).
        state: The gradients of h_0 and of what the head reads; None if the step is not probed.
    """

    parameters: tuple[Tensor, ...]
    loss: Tensor
    carried: Tensor
    state: tuple[Tensor, Tensor] | None


class StepOptions(NamedTuple):
    """How the step of a pack is run. Every way computes the same.

    Attributes:
        fed: Batches come through a ``BatchFeed``, which needs no work of the host at a step, and not one by one.
        fused: Batches, the loss and its gradient, clipping and the optimiser are a few kernels of Triton, in float32;
            only where batches come through a ``BatchFeed``.
        graph: The step is captured as a CUDA graph.
    """

    fed: bool
    fused: bool
    graph: bool

    @classmethod
    def of(cls, device: torch.device, training: TrainingSpec) -> StepOptions:
        """Return the fastest way on a device."""
        on_gpu = device.type == "cuda"
        return cls(on_gpu, on_gpu and training.parameter_dtype == "float32" and fused.installed(), on_gpu)


class TrainingPack:
    """Trains and measures K trials of one shape key together, as K rows of one set of tensors.

    All that changes from step to step is in tensors that stay in one place, so that a step can be captured as a graph.

    Attributes:
        options: How the step is run.

    Args:
        states: The trials in the order of the rows.
        data: The data of their task.
        device: The device on which they are trained.
        options: How the step is run; by default the fastest way on the device.
    """

    def __init__(
        self,
        states: Sequence[TrainingState],
        data: TaskData,
        device: torch.device,
        options: StepOptions | None = None,
    ) -> None:
        self._specs = [state.spec for state in states]
        self._task, self._training = self._specs[0].task, self._specs[0].training
        self._data, self._device = data, device
        self.options = options = options or StepOptions.of(device, self._training)
        networks = {id(state): state.network().to(device) for state in states}  # a state may be there several times
        self._model = pack([networks[id(state)] for state in states])
        del networks
        self._done = [state.step for state in states]
        method = OPTIMIZERS[self._training.optimizer]
        self._optimizer = method(
            self._model.parameters, self._model.roles, self._specs, self._done, train_size=data.train_size
        )
        for kind, stacked in self._optimizer.state.items():
            for name, tensor in stack([state.optimizer[kind] for state in states]).items():
                stacked[name].copy_(tensor)
        self._best = {name: p.detach().clone() for name, p in self._model.parameters.items()}
        for name, tensor in stack([state.best_model or state.model for state in states]).items():
            self._best[name].copy_(tensor)
        self._seeds, size = [spec.training.seed for spec in self._specs], self._training.batch_size
        self._orders = [data.order(seed, size) for seed in self._seeds]
        draws = draws_of(self._task, size, device) if options.fused else None
        self._feed = BatchFeed(data, self._seeds, self._done, size, device, draws) if options.fed else None
        self._carried = self._stack_carried(states) if self._task.carried else None
        self._zeros = self._model.zeros(size)
        self._top = self._model.top(self._zeros).clone()
        rows = len(states)
        self._records = StepRecords(
            torch.stack([state.loss_sum for state in states]).to(device),
            torch.zeros(rows, dtype=torch.int64, device=device),
            *torch.zeros(2, rows, dtype=torch.float64, device=device).unbind(),
        )
        self._h0_norm, self._hT_norm = torch.zeros(2, rows, dtype=torch.float64, device=device).unbind()
        self._fused = None
        if options.fused and self._feed is not None:
            self._fused = fused.FusedUpdate(self._optimizer, self._model, self._records, self._feed.at)
        self._graph = StepGraph(device, wanted=options.graph and self._feed is not None)
        self._whole = True

    @property
    def whole(self) -> bool:
        """Whether all rows are as a whole number of steps left them: no exception has stopped one in its update."""
        return self._whole

    @property
    def captured(self) -> bool:
        """Whether steps are replayed as a CUDA graph now."""
        return self._graph.captured

    def release(self) -> None:
        """Free the memory that only steps need. The next steps take it again."""
        self._graph.release()

    def replace(self, trials: Mapping[int, TrainingState]) -> bool:
        """Put other trials in the places of some, each at its own step, without a new pack. No other row changes.

        All tensors stay where they are, so that a captured step goes on with the new trials.

        Args:
            trials: The states of the new trials, by their rows. They have the shape key of the others.

        Returns:
            False if nothing was changed, because the rows have no room for them: for reflectors, or for numbers that no
            trial of this pack needed. A new pack of all trials has.
        """
        networks = {row: state.network().to(self._device) for row, state in trials.items()}
        if not all(self._model.takes(network) for network in networks.values()):
            return False
        specs, done = list(self._specs), list(self._done)
        for row, state in trials.items():
            specs[row], done[row] = state.spec, state.step
        if not self._optimizer.replace(specs, done):
            return False
        self._specs, self._done = specs, done
        size = self._training.batch_size
        for row, state in trials.items():
            self._model.replace(row, networks[row])
            for kind, stacked in self._optimizer.state.items():
                put_row(stacked, row, state.optimizer[kind])
            put_row(self._best, row, state.best_model or state.model)
            self._records.start(row, state.loss_sum)
            self._seeds[row] = state.spec.training.seed
            self._orders[row] = self._data.order(self._seeds[row], size)
            if self._carried is not None:
                self._carried[row] = 0 if state.carried is None else state.carried
        if self._feed is not None:
            self._feed.restart(self._seeds, self._done)
        if self._fused is not None:
            self._fused.reload()
        return True

    def _stack_carried(self, states: Sequence[TrainingState]) -> Tensor:
        """Return the states from which the next batches go on, shape (K, L, B, S); zeros before the first step."""
        carried = self._model.zeros(self._training.batch_size)
        for row, state in enumerate(states):
            if state.carried is not None:
                carried[row] = state.carried
        return carried

    def step(self, *, probe: bool) -> None:
        """Do one optimiser step of every row, without waiting for the device.

        Args:
            probe: Also record |dL/dh_0|, |dL/dh_T| and the top layer's final states of this step.
        """
        if self._feed is not None:
            self._feed.load()
        self._graph.run(self._step, lambda: self._gradients(self._batch(), probe=True), probe=probe)
        self._done = [done + 1 for done in self._done]

    def _batch(self) -> Batch:
        if self._feed is None:
            return self._data.batch(self._orders, self._seeds, self._done, self._training.batch_size)
        return self._feed.batch() if self._fused is None else fused.batch(self._feed, self._data)

    def _step(self, probe: bool) -> None:
        """Do a step, for which all work is on the device."""
        batch = self._batch()
        found = self._gradients(batch, probe=probe)
        self._whole = False
        if found.state is not None:
            self._keep_probe(batch, found)
        if self._carried is not None:
            self._carried.copy_(found.carried)
        gradients = dict(zip(self._model.parameters, found.parameters, strict=True))
        if self._fused is None:
            norm = self._optimizer.step(gradients)
            self._model.after_step()
            self._record(found.loss.double(), norm.double())
            if self._feed is not None:
                self._feed.advance()
        else:
            self._fused.step(gradients, found.loss)
        self._whole = True

    def _gradients(self, batch: Batch, *, probe: bool) -> StepGradients:
        """Compute a step as far as it changes nothing."""
        parameters = self._model.parameters
        h0 = self._first_states(batch).requires_grad_(probe)
        with self._precision():
            read, state = self._model.read(batch.inputs, h0, batch.lengths, every=self._task.readout == "every")
            outputs = self._model.read_out(read).to(h0.dtype)
        # The trials share no parameter, so the gradient of the sum is the gradient of each trial's own loss.
        wanted = [*parameters.values(), *([h0, read] if probe else [])]
        if self._fused is None:
            with self._precision():
                loss = losses(self._task, outputs, batch.targets)
            found = torch.autograd.grad(loss.sum(), wanted)
        else:
            loss, slope = fused.loss_and_gradient(self._task, outputs.detach(), batch.targets)
            found = torch.autograd.grad(outputs, wanted, slope)
        own = found[: len(parameters)]
        return StepGradients(own, loss.detach(), state.detach(), (found[-2], found[-1]) if probe else None)

    def _keep_probe(self, batch: Batch, found: StepGradients) -> None:
        """Record what a probed step measures."""
        assert found.state is not None
        self._top.copy_(self._model.top(found.carried))
        first, last = found.state
        first = first[..., : self._model.hidden_size]
        last = last_state_of(last, batch.lengths) if last.dim() == 4 else last
        for norm, gradient in ((self._h0_norm, first), (self._hT_norm, last)):
            norm.copy_(gradient.flatten(1).double().square().sum(1).sqrt())

    def _first_states(self, batch: Batch) -> Tensor:
        """Return h_0 of a batch, shape (K, L, B, S).

        These are the states that the batch before it left, but zeros at the start of a pass over the stream, and always
        zeros if the task does not carry its state.
        """
        if self._carried is None:
            return self._zeros.detach()
        if batch.resets is None:
            return self._carried.detach()
        return self._carried.masked_fill(batch.resets.view(-1, 1, 1, 1), 0.0)

    def _precision(self) -> torch.autocast:
        """Return the context in which products are in bfloat16, if the trials train in mixed precision."""
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._training.dtype == "bfloat16")

    def _record(self, loss: Tensor, norm: Tensor) -> None:
        """Add the losses to their sums, and record the first step of each row that was not finite."""
        records = self._records
        records.loss_sum.add_(loss)
        new = ~(loss.isfinite() & norm.isfinite()) & (records.bad_step == 0)
        for kept, now in zip(records[1:], (self._optimizer.steps, loss, norm), strict=True):
            kept.copy_(torch.where(new, now, kept))

    def readings(self) -> list[Readings]:
        """Return the ``Readings`` of every row. This waits for the device, once."""
        columns = [tensor.double() for tensor in self._records]
        columns += [self._h0_norm, self._hT_norm]
        spectrum = self._model.spectrum_distance()
        if spectrum is not None:
            columns.append(spectrum.double())
        rows: list[list[float]] = torch.stack(columns, 1).tolist()
        return [Readings(r[0], int(r[1]), r[2], r[3], r[4], r[5], r[6] if len(r) > 6 else None) for r in rows]

    def clear_loss(self, row: int) -> None:
        """Begin a new report interval of a row: set the sum of its losses to zero."""
        self._records.loss_sum[row] = 0

    def evaluate(self, split: Split) -> list[dict[str, float]]:
        """Return the task's metrics of every row over a held-out set."""
        held_out, found = self._data.validation if split == "validation" else self._data.test, None
        with self._precision():
            try:
                found = scores(self._task, self._model, held_out)
            except Exception as error:
                if not (is_out_of_memory(error) and self._graph.captured):
                    raise
            if found is None:
                self.release()  # what the graphs of steps hold may be enough
                found = scores(self._task, self._model, held_out)
        names, rows = list(found), torch.stack(list(found.values()), 1).tolist()
        return [dict(zip(names, row, strict=True)) for row in rows]

    def diagnose(self) -> list[dict[str, float]]:
        """Return the diagnostics of every row (see diagnostics.py), never in mixed precision.

        Gradients are those of the next batch. States are those in which the last probed step ended.
        """
        batch = self._data.batch(self._orders, self._seeds, self._done, self._training.batch_size)
        return measure(self._task, self._model, self._specs, LastStep(batch, self._first_states(batch), self._top))

    def keep_best(self, row: int) -> None:
        """Keep the present parameters of a row as its best ones."""
        for name, p in self._model.parameters.items():
            self._best[name][row] = p.detach()[row]

    @torch.no_grad()
    def evaluate_best(self) -> list[dict[str, float]]:
        """Return the task's metrics over the test set, of every row with its best parameters.

        A row for which no best parameters have been kept is measured with those that it had when the pack was made.
        """
        parameters = self._model.parameters
        now = {name: p.detach().clone() for name, p in parameters.items()}
        try:
            for name, p in parameters.items():
                p.copy_(self._best[name])
            return self.evaluate("test")
        finally:
            for name, p in parameters.items():
                p.copy_(now[name])

    def store(self, row: int, state: TrainingState) -> None:
        """Bring the state of a trial up to date with its row: all but its history and ``best``.

        The tensors are copied to the CPU, without padding.
        """
        like = state.model
        state.step = self._done[row]
        state.loss_sum = self._records.loss_sum[row].detach().cpu().clone()
        state.model = self._row(self._model.parameters, row, like)
        state.optimizer = {kind: self._row(stacked, row, like) for kind, stacked in self._optimizer.state.items()}
        state.best_model = self._row(self._best, row, like) if state.best else None
        state.carried = None if self._carried is None else self._carried[row].cpu().clone()

    def _row(self, stacked: Tensors, row: int, like: Tensors) -> Tensors:
        return {name: tensor.cpu() for name, tensor in unstack_trial(stacked, row, like).items()}
