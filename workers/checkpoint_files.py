"""The files of a checkpoint without their tensors: names, the manifest, digests, and how a checkpoint is removed.

The manifest is JSON whose first line holds the SHA-256 of all bytes after it. It records the size and the SHA-256 of
each file of tensors, so a byte that was changed anywhere in a checkpoint is noticed. Manifests of version 1, which
releases up to 0.2 wrote, lack that first line.

This module needs only pydantic: it imports neither torch nor safetensors.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from workers.errors import CheckpointInvalid, TooManyReports
from workers.spec.sweep import CheckpointsSpec
from workers.spec.trial import TrialSpec
from workers.wording import first_problem

VERSION = 2
MODEL, OPTIMIZER, MANIFEST = "model.safetensors", "optimizer.safetensors", "manifest.json"
MANIFEST_BYTES = 64 * 2**20
"""The largest manifest that is written or read. One of 10,000 reports has some ten megabytes."""
_NAME = re.compile(r"step-(\d{9,})")
_REMOVED = ".removed-"
_DIGEST = re.compile(rb'\{"digest": "([0-9a-f]{64})",\n')


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
    """The content of ``manifest.json``, but for its digest.

    ``version`` is the version of the format, ``history`` has all reports up to ``step`` in ascending order, and
    ``files`` has one record for each of the two safetensors files, by its name.
    """

    version: Literal[1, 2] = 2
    step: int
    spec: TrialSpec
    history: list[MetricsAtStep]
    best: Best | None
    files: dict[str, FileRecord]


def folder_name(step: int) -> str:
    """Return the name of the folder of the checkpoint at a step."""
    return f"step-{step:09d}"


def step_of(folder: Path) -> int | None:
    """Return the step that the name of a checkpoint's folder says; None if it is not the name of one."""
    found = _NAME.fullmatch(folder.name)
    return int(found[1]) if found and folder_name(int(found[1])) == folder.name else None


def steps_in(directory: Path) -> list[int]:
    """Return the steps of the checkpoints in a trial's folder, whole or not, in ascending order.

    Raises:
        OSError: The folder is there and cannot be listed.
    """
    if not directory.is_dir():
        return []
    return sorted(step for path in directory.iterdir() if (step := step_of(path)) is not None and path.is_dir())


def kept_of(spec: CheckpointsSpec, steps: Collection[int], best: int | None) -> set[int]:
    """Return the steps of those checkpoints of an ended trial that its sweep keeps.

    Args:
        spec: What the sweep says.
        steps: The steps of the trial's checkpoints.
        best: The step of the best one; None if there is none.
    """
    named = {"best": best, "last": max(steps, default=None)}
    kept = {named[which] for which in spec.keep} & set(steps)
    if spec.keep_every is not None:
        kept |= {step for step in steps if step % spec.keep_every == 0}
    return {step for step in kept if step is not None}


def bytes_in(folder: Path) -> int:
    """Return the number of bytes of the files in a folder; 0 if it is gone, or cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return sum(entry.stat(follow_symlinks=False).st_size for entry in entries if entry.is_file())
    except OSError:
        return 0


def encoded(manifest: Manifest) -> bytes:
    """Return the content of a manifest's file.

    Raises:
        TooManyReports: It would be larger than ``MANIFEST_BYTES``, so that nobody could read it.
    """
    content = manifest.model_dump_json(indent=1).encode().removeprefix(b"{\n")
    content = b'{"digest": "%s",\n' % hashlib.sha256(content).hexdigest().encode() + content
    if len(content) > MANIFEST_BYTES:
        problem = f"the metrics of {len(manifest.history):,} reports do not fit into a checkpoint"
        raise TooManyReports(f"{problem}; raise training.report_every")
    return content


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a checkpoint, if no byte of it was changed.

    Raises:
        CheckpointInvalid: There is none, it was changed, or it has another format version; the message names the file.
    """
    path = folder / MANIFEST
    stored = _bytes(
        path, MANIFEST_BYTES, missing=f"{folder} has no {MANIFEST}: it is an unfinished checkpoint, or none"
    )
    head = _DIGEST.match(stored)
    if head and hashlib.sha256(stored[head.end() :]).hexdigest().encode() != head[1]:
        raise CheckpointInvalid(f"{path} was altered: its content does not have the digest in its first line")
    try:
        content: Any = json.loads(stored)
    except (ValueError, RecursionError) as error:
        raise CheckpointInvalid(f"{path} is not JSON: it is torn or was altered") from error
    version = content.get("version") if isinstance(content, dict) else None
    if version not in (1, VERSION):
        raise CheckpointInvalid(f"{path} has format version {version!r}; this release reads versions 1 and {VERSION}")
    if (head is not None) != (version == VERSION):
        raise CheckpointInvalid(f"{path} was altered: a manifest has a digest in its first line from version 2 on")
    content.pop("digest", None)
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        raise CheckpointInvalid(f"{path} is not a valid manifest: {first_problem(error)}") from error


def read_verified(folder: Path, manifest: Manifest, name: str) -> bytes:
    """Return the content of a checkpoint's file ``name``, if it has the size and the digest that the manifest records.

    Raises:
        CheckpointInvalid: It does not, or cannot be read; the message names the file.
    """
    path, record = folder / name, manifest.files.get(name)
    if record is None:
        raise CheckpointInvalid(f"{path} is not listed in the manifest of its checkpoint")
    content = _bytes(path, record.size, missing=f"{path} is missing")
    if len(content) != record.size:
        raise CheckpointInvalid(f"{path} has {len(content)} bytes, but its manifest records {record.size}")
    if hashlib.sha256(content).hexdigest() != record.sha256:
        raise CheckpointInvalid(f"{path} was altered: its sha256 differs from the one in the manifest")
    return content


def remove(folder: Path) -> None:
    """Remove a checkpoint, so that even after a crash no half of one bears its name; ``remove_leftovers`` ends that.

    Whoever reads a file of it at this moment can read on.

    Raises:
        OSError: The folder cannot be renamed. If only its files cannot be deleted, they are left over.
    """
    aside = folder.with_name(_REMOVED + folder.name)
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def remove_leftovers(directory: Path) -> None:
    """Delete what an interrupted ``remove`` has left in a trial's folder. Errors are ignored."""
    if directory.is_dir():
        for path in directory.glob(f"{_REMOVED}step-*"):
            shutil.rmtree(path, ignore_errors=True)


def _bytes(path: Path, limit: int, missing: str) -> bytes:
    """Return the content of a regular file, of which more than ``limit`` bytes are never read."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise CheckpointInvalid(f"{path} is not a file")
        if found.st_size > limit:
            raise CheckpointInvalid(f"{path} has {found.st_size:,} bytes, and at most {limit:,} are possible")
        with path.open("rb") as file:
            return file.read(limit + 1)
    except FileNotFoundError:
        raise CheckpointInvalid(missing) from None
    except OSError as error:
        raise CheckpointInvalid(f"{path} cannot be read: {error.strerror}") from error
