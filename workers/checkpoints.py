"""Checkpoints of one trial on disk: whole or not there at all, found again, verified before use.

Layout of a trial's folder::

    step-000000600/
        model.safetensors        the network, named as in its state_dict
        optimizer.safetensors    <kind>.<name> (PackedOptimizer.STATE), loss_sum; carried, of tasks that do
        manifest.json            step, spec, metric history, best, sha256 and size of both files

Every file is written under a temporary name, synced and renamed; the manifest comes last, so a folder without one is
no checkpoint. The two newest and the best ones they name are kept.
"""

from __future__ import annotations

import hashlib
import json
import logging
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

log = logging.getLogger(__name__)

VERSION = 1
KEPT = 2
MODEL, OPTIMIZER, MANIFEST = "model.safetensors", "optimizer.safetensors", "manifest.json"
_PREFIX = "step-"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileRecord(_Record):
    sha256: str
    size: int


class MetricsAtStep(_Record):
    """The metrics of one report."""

    step: int
    values: dict[str, float]


class Best(_Record):
    """The checkpointed step with the best objective so far."""

    step: int
    objective: float


class Manifest(_Record):
    version: Literal[1] = 1
    step: int
    spec: TrialSpec
    history: list[MetricsAtStep]
    best: Best | None
    files: dict[str, FileRecord]


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint, in memory. ``optimizer`` is empty where only the model was read."""

    path: Path
    manifest: Manifest
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]


class CheckpointFolder:
    """One trial's folder, ``directory``; made on the first write."""

    def __init__(self, directory: Path, spec: TrialSpec) -> None:
        self.directory = directory
        self._spec = spec

    def path(self, step: int) -> Path:
        return self.directory / f"{_PREFIX}{step:09d}"

    def write(
        self,
        step: int,
        model: dict[str, Tensor],
        optimizer: dict[str, Tensor],
        history: list[MetricsAtStep],
        best: Best | None,
    ) -> Path:
        """A whole checkpoint of ``step`` stands when this returns, and older ones beyond those kept are gone.

        Raises OSError (disk full, no permission): then the earlier checkpoints still stand.
        """
        folder = self.path(step)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST).unlink(missing_ok=True)
        files = {name: _write(folder / name, save_tensors(t)) for name, t in ((MODEL, model), (OPTIMIZER, optimizer))}
        manifest = Manifest(step=step, spec=self._spec, history=history, best=best, files=files)
        _write(folder / MANIFEST, manifest.model_dump_json(indent=1).encode())
        sync_folder(folder)
        sync_folder(self.directory)
        self._drop_old(manifest)
        return folder

    def newest(self) -> Checkpoint | None:
        """The newest whole checkpoint, None where there is none; torn and altered ones are passed over.

        Raises CheckpointInvalid where the newest whole one is of another trial.
        """
        for folder in self._folders():
            try:
                found = read(folder)
            except CheckpointInvalid as error:
                log.warning("checkpoint passed over: %s", error)
                continue
            self._check_trial(found)
            return found
        return None

    def best(self, best: Best) -> Checkpoint:
        """The checkpoint that ``best`` names. Raises CheckpointInvalid."""
        found = read(self.path(best.step), model_only=True)
        self._check_trial(found)
        return found

    def _check_trial(self, found: Checkpoint) -> None:
        mine, other = self._spec, found.manifest.spec
        parts = ("task", "model", "training", "objective")
        wrong = [part for part in parts if getattr(mine, part) != getattr(other, part)]
        if wrong:
            raise CheckpointInvalid(
                f"{found.path} is of another trial: {', '.join(wrong)} differ from what is to be trained. "
                "Use another directory, or remove this one"
            )

    def _folders(self) -> list[Path]:
        """Newest first, whole or not."""
        if not self.directory.is_dir():
            return []
        found = [path for path in self.directory.iterdir() if path.is_dir() and path.name.startswith(_PREFIX)]
        return sorted(found, key=lambda path: path.name, reverse=True)

    def _drop_old(self, newest: Manifest) -> None:
        """Keep the newest two at or below this step and the best ones that they name; the rest goes."""
        manifests = [newest]
        older = [path for path in self._folders() if path.name < self.path(newest.step).name]
        for folder in older:
            if len(manifests) < KEPT and (found := _manifest_or_none(folder)) is not None:
                manifests.append(found)
        kept = {self.path(m.step) for m in manifests} | {self.path(m.best.step) for m in manifests if m.best}
        for folder in older:
            if folder not in kept:
                shutil.rmtree(folder, ignore_errors=True)


def read(folder: Path, *, model_only: bool = False) -> Checkpoint:
    """The checkpoint in ``folder``, sizes and checksums verified. Raises CheckpointInvalid, saying what is wrong."""
    manifest = _manifest(folder)
    names = [MODEL] if model_only else [MODEL, OPTIMIZER]
    tensors = [_tensors(folder / name, manifest.files.get(name)) for name in names]
    return Checkpoint(folder, manifest, tensors[0], tensors[1] if len(tensors) > 1 else {})


def _manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    try:
        content: Any = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise CheckpointInvalid(f"{folder} has no {MANIFEST}: it was not written to its end") from None
    except (OSError, ValueError) as error:
        raise CheckpointInvalid(f"{path} cannot be read: {error}") from error
    version = content.get("version") if isinstance(content, dict) else None
    if version != VERSION:
        raise CheckpointInvalid(f"{path} has format version {version!r}; this code reads version {VERSION}")
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        raise CheckpointInvalid(f"{path} is not a manifest: {error.errors(include_url=False)[0]['msg']}") from error


def _manifest_or_none(folder: Path) -> Manifest | None:
    try:
        return _manifest(folder)
    except CheckpointInvalid:
        return None


def _tensors(path: Path, record: FileRecord | None) -> dict[str, Tensor]:
    if record is None:
        raise CheckpointInvalid(f"the manifest beside {path} does not list it")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointInvalid(f"{path} cannot be read: {error}") from error
    if len(content) != record.size:
        raise CheckpointInvalid(f"{path} has {len(content)} bytes, its manifest says {record.size}")
    if hashlib.sha256(content).hexdigest() != record.sha256:
        raise CheckpointInvalid(f"{path} was altered: its sha256 is not the one in the manifest")
    return load_tensors(content)


def _write(path: Path, content: bytes) -> FileRecord:
    write_whole(path, content)
    return FileRecord(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
