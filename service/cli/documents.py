"""Read the JSON document of a sweep from a file or from standard input, and values from arguments."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from service import strict_json
from service.cli.errors import UserError


def load(file: Path) -> dict[str, Any]:
    """Return the JSON object in a file; the path ``-`` stands for standard input.

    Raises:
        UserError: The file does not exist or cannot be read, is not strict JSON, as ``strict_json.decode`` says, or
            holds another value than an object. If the syntax is wrong, the message names the line and column.
    """
    name = "standard input" if str(file) == "-" else str(file)
    try:
        document = strict_json.decode(sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes())
    except FileNotFoundError:
        raise UserError(f"there is no file {name}") from None
    except OSError as error:
        raise UserError(f"cannot read {name}: {error.strerror}") from None
    except strict_json.NotStrictJson as error:
        first = error.errors[0]
        if error.malformed:
            raise UserError(f"{name} {first.problem}: found {first.given}; expected {first.allowed}") from None
        raise UserError(f"{name} is not a sweep document:", [one.as_dict() for one in error.errors]) from None
    if not isinstance(document, dict):
        raise UserError(f"{name} is JSON, but not an object; a sweep is an object: {{...}}")
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


def _value(text: str) -> Any:
    try:
        return strict_json.decode(text.encode())
    except strict_json.NotStrictJson:
        return text
