"""Checkpoints of one trial on disk: written atomically, verified before use.

Layout of a trial's folder, with one subfolder per checkpoint, named after the optimiser steps done, in nine digits::

    step-000000600/
        model.safetensors        the network's parameters, unpadded, with the names and dtypes of its state_dict
        optimizer.safetensors    the rest of the training state, see below
        manifest.json            a ``Manifest``: step, spec, metric history, best, and both files' sizes and sha256

Tensors of ``optimizer.safetensors``:

- ``<kind>.<name>``: the optimiser's state of the parameter <name>, in the parameter's shape. The kinds depend on the
  optimiser (``PackedOptimizer.STATE``), for example ``exp_avg`` and ``exp_avg_sq`` of Adam.
- ``loss_sum``: a float64 scalar, the sum of the training losses since the last report.
- ``carried``: only of tasks whose state is carried from batch to batch. The hidden state from which the next batch
  goes on, shape (layers, batch, state size).

Nothing else is needed to resume, because batches are a function of (seed, step).

Every file is written under a temporary name, synced and renamed. The manifest is written last, so a folder without a
manifest is an unfinished checkpoint and is ignored. While a trial is trained, its two newest checkpoints are kept,
those that their manifests name as the best, and those at the multiples of ``keep_every``. What no trial needs is
renamed before it is deleted, so a checkpoint is there as a whole or not at all.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from workers import checkpoint_files
from workers.checkpoint_files import (
    MANIFEST,
    MODEL,
    OPTIMIZER,
    Best,
    FileRecord,
    Manifest,
    MetricsAtStep,
    encoded,
    folder_name,
    read_manifest,
    read_verified,
    step_of,
    steps_in,
)
from workers.errors import CheckpointForeign, CheckpointInvalid, store_problem
from workers.files import sync_folder, write_whole
from workers.spec.trial import TrialSpec

log = logging.getLogger(__name__)

KEPT = 2
"""How many of the newest complete checkpoints of a trial are kept while it is trained."""
_OLD_NAME = re.compile(r"(^|\.)layers\.(?=(reflectors_u|reflectors_v|singular)$)")
"""Names of the matrices of spectral_mlp and spectral_resnet up to release 0.2.0, which are ``layers.svd....`` now."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in memory, whose files had the sizes and checksums that its manifest records.

    ``model`` has the network's parameters by name. ``optimizer`` has the tensors of ``optimizer.safetensors`` by name,
    and is empty if only the model was read. Names of earlier releases are those of this one here.
    """

    path: Path
    manifest: Manifest
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]


class CheckpointFolder:
    """Writes and reads the checkpoints of one trial.

    Args:
        directory: The folder of the trial's checkpoints. The first write creates it.
        spec: The trial's spec. It is stored with every checkpoint, and a checkpoint with another task, model, training
            or objective is refused when it is read.
        keep_every: Checkpoints at multiples of this many steps are never removed by ``write``; None: no others are
            kept than training needs.
    """

    def __init__(self, directory: Path, spec: TrialSpec, keep_every: int | None = None) -> None:
        self.directory = directory
        self._spec, self._keep_every = spec, keep_every

    def path(self, step: int) -> Path:
        """Return the path of the checkpoint at a step, whether it exists or not."""
        return self.directory / folder_name(step)

    def steps(self) -> list[int]:
        """Return the steps of the checkpoints in the folder, whole or not, in ascending order."""
        return steps_in(self.directory)

    def write(
        self,
        step: int,
        model: dict[str, Tensor],
        optimizer: dict[str, Tensor],
        history: list[MetricsAtStep],
        best: Best | None,
    ) -> Path:
        """Write the checkpoint of a step and remove older ones that are no longer needed.

        Args:
            step: Optimiser steps done.
            model: The parameters of the network, by name.
            optimizer: The tensors of ``optimizer.safetensors``, by name.
            history: All reports of the trial so far, in the order of their steps.
            best: The checkpoint with the best objective so far, which may be this one; None if no checkpoint has had a
                finite objective.

        Returns:
            The folder of the new checkpoint.

        Raises:
            OSError: The disk is full or cannot be written to. Checkpoints of other steps are left as they were; an
                earlier one of the same step may be lost.
        """
        folder = self.path(step)
        folder.mkdir(parents=True, exist_ok=True)
        # A manifest left by an earlier attempt would vouch for files that are about to be replaced.
        (folder / MANIFEST).unlink(missing_ok=True)
        files = {name: _write(folder / name, save_tensors(t)) for name, t in ((MODEL, model), (OPTIMIZER, optimizer))}
        manifest = Manifest(step=step, spec=self._spec, history=history, best=best, files=files)
        write_whole(folder / MANIFEST, encoded(manifest))
        sync_folder(folder)
        sync_folder(self.directory)
        self._remove_old(manifest)
        return folder

    def newest(self) -> Checkpoint | None:
        """Return the newest checkpoint of ``newest_first``; None if there is none."""
        return next(self.newest_first(), None)

    def newest_first(self) -> Iterator[Checkpoint]:
        """Yield the whole checkpoints of this trial, the newest first; each is read when it is asked for.

        Those that are incomplete, altered, of another format version or of another trial are skipped with a warning in
        the log.

        Raises:
            CheckpointForeign: No checkpoint is yielded, and there is one of another trial, which training would
                remove.
            OSError: The folder of the checkpoints cannot be listed; or no checkpoint is yielded, and there is one that
                a failing store does not give. Training from the beginning would replace it.
        """
        foreign: CheckpointForeign | None = None
        failing: CheckpointInvalid | None = None
        found = False
        for step in reversed(self.steps()):
            try:
                checkpoint = self._read(step)
            except CheckpointInvalid as error:
                log.warning("skipping a checkpoint: %s", error)
                foreign = foreign or (error if isinstance(error, CheckpointForeign) else None)
                failing = failing or (error if store_problem(error) else None)
                continue
            found = True
            yield checkpoint
        if foreign and not found:
            raise foreign
        if failing and not found:
            raise OSError(errno.EIO, str(failing)) from failing

    def best(self, best: Best) -> Checkpoint:
        """Return the checkpoint at the step of ``best``, with its model and without the optimiser's tensors.

        Raises:
            CheckpointInvalid: The checkpoint does not exist, is incomplete or altered, or belongs to another trial.
        """
        return self._read(best.step, model_only=True)

    def _read(self, step: int, *, model_only: bool = False) -> Checkpoint:
        found = read(self.path(step), model_only=model_only)
        self._check_trial(found.path, found.manifest)
        return found

    def _check_trial(self, path: Path, manifest: Manifest) -> None:
        mine, other = self._spec, manifest.spec
        # The trial's number is left out: the same trial may have another number in another sweep.
        parts = ("task", "model", "training", "objective")
        wrong = [part for part in parts if getattr(mine, part) != getattr(other, part)]
        if wrong:
            raise CheckpointForeign(
                f"{path} belongs to another trial: {', '.join(wrong)} in its manifest differ from those of the "
                f"trial to be trained. Use another directory, or remove {self.directory}"
            )

    def _whole_manifest(self, step: int) -> Manifest | None:
        """Return the manifest of a checkpoint; None if it is incomplete. Raises CheckpointForeign."""
        try:
            manifest = read_manifest(self.path(step))
            self._check_trial(self.path(step), manifest)
        except CheckpointForeign:
            raise
        except CheckpointInvalid:
            return None
        return manifest

    def _remove_old(self, newest: Manifest) -> None:
        """Remove the checkpoints of steps before ``newest``, complete or not, that are no longer needed.

        The newest complete one of them is kept, those that its manifest or ``newest`` names as the best, those at
        multiples of ``keep_every``, and those of other trials. What cannot be removed is tried again the next time.
        """
        checkpoint_files.remove_leftovers(self.directory)
        # The folder of a later step is a damaged checkpoint that was skipped. Training will reach that step and replace
        # it.
        whole, bests, spare = 1, {newest.best}, []
        for step in (step for step in reversed(self.steps()) if step < newest.step):
            pinned = self._keep_every is not None and step % self._keep_every == 0
            if pinned and whole == KEPT:
                continue
            try:
                found = self._whole_manifest(step)
            except CheckpointForeign:
                continue
            if found is not None and whole < KEPT:
                whole += 1
                bests.add(found.best)
            elif not pinned:
                spare.append(step)
        needed = {best.step for best in bests if best is not None}
        for step in spare:
            if step not in needed:
                with suppress(OSError):
                    checkpoint_files.remove(self.path(step))


def read(folder: Path, *, model_only: bool = False) -> Checkpoint:
    """Read a checkpoint and verify the sizes and checksums of the files that are read.

    Args:
        folder: The folder of one checkpoint.
        model_only: Read only the manifest and the model. The optimiser's file may then be missing.

    Raises:
        CheckpointInvalid: The checkpoint is incomplete, was altered or has another format version; the message names
            the file.
    """
    manifest, named = read_manifest(folder), step_of(folder)
    if named is not None and named != manifest.step:
        raise CheckpointInvalid(f"{folder} was altered: its manifest is that of step {manifest.step}")
    names = [MODEL] if model_only else [MODEL, OPTIMIZER]
    tensors = [_tensors(folder, manifest, name) for name in names]
    return Checkpoint(folder, manifest, tensors[0], tensors[1] if len(tensors) > 1 else {})


def _tensors(folder: Path, manifest: Manifest, name: str) -> dict[str, Tensor]:
    return tensors_of(read_verified(folder, manifest, name), str(folder / name))


def tensors_of(content: bytes, name: str) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint's file by the names that this release gives them.

    Args:
        content: The content of the file.
        name: What it is called in messages.

    Raises:
        CheckpointInvalid: It is not a file of safetensors.
    """
    try:
        found = load_tensors(content)
    except Exception as error:  # the library raises errors of many kinds for a file that is not one of its own
        raise CheckpointInvalid(f"{name} is not a file of safetensors: {error}") from error
    return {_OLD_NAME.sub(r"\1layers.svd.", key): tensor for key, tensor in found.items()}


def _write(path: Path, content: bytes) -> FileRecord:
    write_whole(path, content)
    return FileRecord(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
