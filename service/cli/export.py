"""``spectral export``: write a trained network to one file that torch or ONNX Runtime reads without this project."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import ids
from service.cli.errors import UserError
from service.cli.options import HERE, TokenFileOption, UrlOption, connect, console

if TYPE_CHECKING:
    from workers.models import SequenceModel


class ExportFormat(StrEnum):
    """What a network can be written as."""

    torch = "torch"
    safetensors = "safetensors"
    onnx = "onnx"


def export(
    trial: Annotated[str, typer.Argument(help="A trial, such as last-7, or the folder of a checkpoint.")],
    out: Annotated[Path, typer.Option(help="File to write; one that is there is replaced.")],
    format: Annotated[
        ExportFormat,
        typer.Option(help="torch: for torch.load(FILE, weights_only=True); safetensors: the same weights; onnx."),
    ] = ExportFormat.torch,
    url: UrlOption = HERE,
    token_file: TokenFileOption = None,
) -> None:
    """Write a trial's best network with torch.nn.RNN, LSTM or GRU alone, or as ONNX: no code of this project is needed.

    docs/mlflow.md has the lines that load the file. Only tanh and relu have such a form.
    """
    from workers.errors import CheckpointInvalid, NoPlainForm
    from workers.models.plain import exported

    try:
        network = _of_folder(Path(trial)) if Path(trial).is_dir() else _of_service(trial, url, token_file)
        content = exported(network, format.value)
    except (NoPlainForm, CheckpointInvalid) as error:
        raise UserError(str(error)) from None
    try:
        out.write_bytes(content)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}") from None
    console.print(f"{out}: {format.value}, {len(content):,} bytes", soft_wrap=True)


def _of_folder(folder: Path) -> SequenceModel:
    from workers.models import load

    return load(folder)


def _of_service(trial_id: str, url: str, token_file: Path | None) -> SequenceModel:
    """Return the network of a trial's best checkpoint, which the service sends; its files need not be readable here."""
    from service.client import NetworkUnreadable
    from service.client.loading import network_of

    with connect(url, token_file) as client:
        trial_id = ids.trial(client, trial_id)
        trial = client.trial(trial_id)
        document = client.sweep(trial["sweep_id"])["spec"]
        content = client.weights(trial_id)
    try:
        return network_of(document, trial["number"], trial["params"], content)
    except NetworkUnreadable as error:
        raise UserError(str(error)) from None
