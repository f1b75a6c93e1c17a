"""Read the document of a sweep from a file or from standard input, and values from arguments."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from service import strict_json
from service.cli.errors import UserError
from service.client import sweep_files


def load(file: Path, settings: list[str] | None = None) -> dict[str, Any]:
    """Return the object in a file; the path ``-`` stands for standard input, which is read as JSON.

    Args:
        file: The file. The endings ``.yaml``, ``.yml`` and ``.toml`` choose the format; any other is JSON.
        settings: Values that replace those of the document, as in ``training.lr=0.01``.

    Raises:
        UserError: The file does not exist or cannot be read, its syntax is wrong, it holds what strict JSON cannot hold
            (``strict_json.decode``), or another value than an object; or a setting has no such form. If the syntax is
            wrong, the message names the line and column.
    """
    try:
        if str(file) == "-":
            document = sweep_files.decode(sys.stdin.buffer.read(), "standard input")
        else:
            document = sweep_files.read(file)
    except sweep_files.DocumentUnreadable as error:
        raise UserError(str(error), error.errors) from None
    for setting in settings or []:
        _set(document, setting)
    return document


def new_values(given: list[str]) -> dict[str, list[Any]]:
    """Return new values of dimensions by path, from arguments such as ``model.margin=0.3,0.5``.

    A value is read as JSON where it is JSON, and else as text.

    Raises:
        UserError: An argument has another form.
    """
    found: dict[str, list[Any]] = {}
    for argument in given:
        path, equals, values = argument.partition("=")
        if not equals or not path.strip() or not all(value.strip() for value in values.split(",")):
            raise UserError(f"--values {argument!r} has another form than PATH=VALUE,VALUE, as in model.margin=0.3,0.5")
        found.setdefault(path.strip(), []).extend(_value(value.strip()) for value in values.split(","))
    return found


def whole_number(option: str, text: str) -> int:
    """Return the value of an option as a whole number; raise UserError if it is none."""
    try:
        return int(text)
    except ValueError:
        raise UserError(f"{option} is {text!r}; allowed: a whole number, or none") from None


def _set(document: dict[str, Any], setting: str) -> None:
    """Set one value of a document, from a text such as ``training.lr=0.01``; objects on the way are created.

    The fields of ``space`` have dots in their names: what follows ``space.`` is one name.
    """
    path, equals, value = setting.partition("=")
    names = path.strip().split(".")
    if names[0] == "space" and len(names) > 1:
        names = ["space", ".".join(names[1:])]
    if not equals or not all(names):
        raise UserError(f"--set {setting!r} has another form than PATH=VALUE, as in training.lr=0.01")
    where = document
    for name in names[:-1]:
        where = where.setdefault(name, {})
        if not isinstance(where, dict):
            raise UserError(f"--set {setting!r}: {name} is no object in the document, so nothing in it can be set")
    where[names[-1]] = _value(value.strip())


def _value(text: str) -> Any:
    try:
        return strict_json.decode(text.encode())
    except strict_json.NotStrictJson:
        return text
