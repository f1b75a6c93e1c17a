"""Read the document of a sweep from a file or from standard input, and values from arguments.

A document is JSON, YAML or TOML, which the ending of the file's name tells. YAML and TOML have to hold what JSON can
hold: dates, for example, are refused.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from service import strict_json
from service.cli.errors import UserError


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
    name = "standard input" if str(file) == "-" else str(file)
    try:
        raw = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except FileNotFoundError:
        raise UserError(f"there is no file {name}") from None
    except OSError as error:
        raise UserError(f"cannot read {name}: {error.strerror}") from None
    translate = _TO_JSON.get(file.suffix.lower())
    try:
        document = strict_json.decode(raw if translate is None else translate(raw, name))
    except strict_json.NotStrictJson as error:
        first = error.errors[0]
        if error.malformed:
            raise UserError(f"{name} {first.problem}: found {first.given}; expected {first.allowed}") from None
        raise UserError(f"{name} is not a sweep document:", [one.as_dict() for one in error.errors]) from None
    if not isinstance(document, dict):
        raise UserError(f"{name} does not hold an object; a sweep is an object: {{...}}")
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


def _from_toml(raw: bytes, name: str) -> bytes:
    try:
        return _as_json(tomllib.loads(raw.decode()), name)
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is not text in UTF-8: byte {error.start} is wrong") from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{name} is not TOML: {error}") from None


def _from_yaml(raw: bytes, name: str) -> bytes:
    import yaml

    class UniqueKeys(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
        """Reads YAML without tags of Python, and refuses a key that stands twice in one mapping."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            """Return the mapping of a node."""
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            for place, key in enumerate(keys):
                if not isinstance(key, str) or key in keys[:place]:
                    problem = "is given twice" if isinstance(key, str) else "is no text, as a field's name has to be"
                    raise UserError(f"{name}, line {node.value[place][0].start_mark.line + 1}: {key} {problem}")
            found: dict[Any, Any] = super().construct_mapping(node, deep=deep)
            return found

    # An anchor may be used again and again, so that a short text stands for a huge document.
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(raw, Loader=yaml.SafeLoader)):
            raise UserError(f"{name} uses an alias (*name); write out what it stands for")
        return _as_json(yaml.load(raw, Loader=UniqueKeys), name)
    except RecursionError:
        raise UserError(f"{name} is nested too deep; at most {strict_json.MAX_DEPTH} levels") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise UserError(f"{name} is not YAML{place}: {error.problem}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{name} is not YAML: {' '.join(str(error).split())}") from None


def _as_json(document: Any, name: str) -> bytes:
    def refuse(value: Any) -> Any:
        what = f"{value} ({type(value).__name__})"
        raise UserError(f"{name} holds {what}, which no field of a sweep takes; write it in quotes if it is text")

    return json.dumps(document, default=refuse).encode()


_TO_JSON: dict[str, Callable[[bytes, str], bytes]] = {".toml": _from_toml, ".yaml": _from_yaml, ".yml": _from_yaml}
