"""Sweeps from files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from service.cli.errors import Mistake


def load(file: Path) -> dict[str, Any]:
    """The JSON object in ``file``. Raises Mistake with the line and column of what is not JSON."""
    name = "standard input" if str(file) == "-" else str(file)
    try:
        raw = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        document = json.loads(raw.decode("utf-8"), parse_constant=_refuse, object_pairs_hook=_object)
    except FileNotFoundError:
        raise Mistake(f"there is no file {name}") from None
    except OSError as error:
        raise Mistake(f"cannot read {name}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise Mistake(f"{name} is not UTF-8 text (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise Mistake(f"{name} is not JSON at line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise Mistake(f"{name} is nested too deep to be a sweep") from None
    if not isinstance(document, dict):
        raise Mistake(f"{name} holds no JSON object; a sweep is one: {{...}}")
    return document


def _refuse(name: str) -> float:
    raise Mistake(f"the file holds {name}, which is not JSON; give a finite number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise Mistake(f"{twice} is given twice in one object; give it once")
    return document
