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
manifest is an unfinished checkpoint and is ignored. The two newest checkpoints are kept, and those that their
manifests name as the best.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from workers.errors import CheckpointInvalid
from workers.files import sync_folder, write_whole
from workers.spec.trial import TrialSpec
from workers.wording import first_problem

log = logging.getLogger(__name__)

VERSION = 1
KEPT = 2
"""How many of the newest complete checkpoints of a trial are kept."""
MODEL, OPTIMIZER, MANIFEST = "model.safetensors", "optimizer.safetensors", "manifest.json"
_PREFIX = "step-"
_OLD_NAME = re.compile(r"(^|\.)layers\.(?=(reflectors_u|reflectors_v|singular)$)")
"""Names of the matrices of spectral_mlp and spectral_resnet up to release 0.2.0, which are ``layers.svd....`` now."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileRecord(_Record):
    """The checksum (in hexadecimal) and the size in bytes of one file of a checkpoint."""

    sha256: str
    size: int


class MetricsAtStep(_Record):
    """The metrics of one report, by name."""

    step: int
    values: dict[str, float]


class Best(_Record):
    """The step of the checkpoint with the best objective so far, and that objective."""

    step: int
    objective: float


class Manifest(_Record):
    """The content of ``manifest.json``.

    ``version`` is the version of the format, ``history`` has all reports up to ``step`` in ascending order, and
    ``files`` has one record for each of the two safetensors files, by its name.
    """

    version: Literal[1] = 1
    step: int
    spec: TrialSpec
    history: list[MetricsAtStep]
    best: Best | None
    files: dict[str, FileRecord]


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
    """

    def __init__(self, directory: Path, spec: TrialSpec) -> None:
        self.directory = directory
        self._spec = spec

    def path(self, step: int) -> Path:
        """Return the path of the checkpoint at a step, whether it exists or not."""
        return self.directory / f"{_PREFIX}{step:09d}"

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
        _write(folder / MANIFEST, manifest.model_dump_json(indent=1).encode())
        sync_folder(folder)
        sync_folder(self.directory)
        self._remove_old(manifest)
        return folder

    def newest(self) -> Checkpoint | None:
        """Return the newest complete checkpoint, or None if there is none.

        Checkpoints that are incomplete, altered or of another format version are skipped with a warning in the log.

        Raises:
            CheckpointInvalid: The newest complete checkpoint belongs to another trial.
            OSError: The folder of the checkpoints cannot be listed.
        """
        for folder in self._folders():
            try:
                found = read(folder)
            except CheckpointInvalid as error:
                log.warning("skipping a checkpoint: %s", error)
                continue
            self._check_trial(found)
            return found
        return None

    def best(self, best: Best) -> Checkpoint:
        """Return the checkpoint at the step of ``best``, with its model and without the optimiser's tensors.

        Raises:
            CheckpointInvalid: The checkpoint does not exist, is incomplete or altered, or belongs to another trial.
        """
        found = read(self.path(best.step), model_only=True)
        self._check_trial(found)
        return found

    def _check_trial(self, found: Checkpoint) -> None:
        mine, other = self._spec, found.manifest.spec
        # The trial's number is left out: the same trial may have another number in another sweep.
        parts = ("task", "model", "training", "objective")
        wrong = [part for part in parts if getattr(mine, part) != getattr(other, part)]
        if wrong:
            raise CheckpointInvalid(
                f"{found.path} belongs to another trial: {', '.join(wrong)} in its manifest differ from those of the "
                f"trial to be trained. Use another directory, or remove {self.directory}"
            )

    def _folders(self) -> list[Path]:
        """Return the folders of all checkpoints, also of incomplete ones, the newest first."""
        if not self.directory.is_dir():
            return []
        found = [path for path in self.directory.iterdir() if path.is_dir() and path.name.startswith(_PREFIX)]
        return sorted(found, key=lambda path: path.name, reverse=True)

    def _remove_old(self, newest: Manifest) -> None:
        """Remove the checkpoints of steps before ``newest``, complete or not, that are no longer needed.

        The newest complete one of them is kept, and those that its manifest or ``newest`` names as the best.
        """
        manifests = [newest]
        # The folder of a later step is a damaged checkpoint that was skipped. Training will reach that step and replace
        # it.
        older = [path for path in self._folders() if path.name < self.path(newest.step).name]
        for folder in older:
            if len(manifests) < KEPT and (found := _manifest_or_none(folder)) is not None:
                manifests.append(found)
        kept = {self.path(m.step) for m in manifests} | {self.path(m.best.step) for m in manifests if m.best}
        for folder in older:
            if folder not in kept:
                shutil.rmtree(folder, ignore_errors=True)


def read(folder: Path, *, model_only: bool = False) -> Checkpoint:
    """Read a checkpoint and verify the sizes and checksums of the files that are read.

    Args:
        folder: The folder of one checkpoint.
        model_only: Read only the manifest and the model. The optimiser's file may then be missing.

    Raises:
        CheckpointInvalid: The checkpoint is incomplete, was altered or has another format version; the message names
            the file.
    """
    manifest = _manifest(folder)
    names = [MODEL] if model_only else [MODEL, OPTIMIZER]
    tensors = [_tensors(folder / name, manifest.files.get(name)) for name in names]
    return Checkpoint(folder, manifest, tensors[0], tensors[1] if len(tensors) > 1 else {})


def _manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    try:
        content: Any = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise CheckpointInvalid(f"{folder} has no {MANIFEST}: it is an unfinished checkpoint, or none") from None
    except OSError as error:
        raise CheckpointInvalid(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CheckpointInvalid(f"{path} is not JSON: it is torn or was altered") from error
    version = content.get("version") if isinstance(content, dict) else None
    if version != VERSION:
        raise CheckpointInvalid(f"{path} has format version {version!r}; this release reads version {VERSION}")
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        raise CheckpointInvalid(f"{path} is not a valid manifest: {first_problem(error)}") from error


def _manifest_or_none(folder: Path) -> Manifest | None:
    try:
        return _manifest(folder)
    except CheckpointInvalid:
        return None


def _tensors(path: Path, record: FileRecord | None) -> dict[str, Tensor]:
    if record is None:
        raise CheckpointInvalid(f"{path} is not listed in the manifest of its checkpoint")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointInvalid(f"{path} cannot be read: {error.strerror}") from error
    if len(content) != record.size:
        raise CheckpointInvalid(f"{path} has {len(content)} bytes, but its manifest records {record.size}")
    if hashlib.sha256(content).hexdigest() != record.sha256:
        raise CheckpointInvalid(f"{path} was altered: its sha256 differs from the one in the manifest")
    return {_OLD_NAME.sub(r"\1layers.svd.", name): tensor for name, tensor in load_tensors(content).items()}


def _write(path: Path, content: bytes) -> FileRecord:
    write_whole(path, content)
    return FileRecord(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
