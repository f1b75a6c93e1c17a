"""Read the JSON document of a sweep from a file or from standard input."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from service.cli.errors import UserError


def load(file: Path) -> dict[str, Any]:
    """Return the JSON object in a file; the path ``-`` stands for standard input.

    Raises:
        UserError: The file does not exist or cannot be read, is not UTF-8 or not JSON, holds NaN or Infinity, gives a
            key twice in one object, is nested too deep, or holds another value than an object. If the syntax is wrong,
            the message names the line and column.
    """
    name = "standard input" if str(file) == "-" else str(file)
    try:
        raw = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        document = json.loads(raw.decode("utf-8"), parse_constant=_refuse, object_pairs_hook=_object)
    except FileNotFoundError:
        raise UserError(f"there is no file {name}") from None
    except OSError as error:
        raise UserError(f"cannot read {name}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is not UTF-8 text (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{name} is not JSON at line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise UserError(f"{name} is nested too deep for a sweep") from None
    if not isinstance(document, dict):
        raise UserError(f"{name} is JSON, but not an object; a sweep is an object: {{...}}")
    return document


def _refuse(name: str) -> float:
    raise UserError(f"the sweep contains {name}, which is not JSON; give a finite number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for name, value in pairs:
        if name in document:
            raise UserError(f"the key {name} is given twice in one object; give it once")
        document[name] = value
    return document
