"""Read the document of a sweep from a file, in JSON, YAML or TOML, which the ending of the file's name tells.

YAML and TOML have to hold what JSON can hold: dates, for example, are refused.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service import strict_json
from service.client.rules import Json

if TYPE_CHECKING:
    from workers.spec.sweep import SweepSpec


class DocumentUnreadable(ValueError):
    """A file holds no document of a sweep, or cannot be read.

    Attributes:
        errors: The faults in single fields, each with ``field``, ``given``, ``problem`` and ``allowed``; empty if the
            problem lies elsewhere.
    """

    def __init__(self, message: str, errors: Sequence[Json] = ()) -> None:
        self.errors = list(errors)
        super().__init__(message + "; ".join(f" {one['field']} {one['problem']}" for one in errors))


def document_of(sweep: Mapping[str, Any] | SweepSpec | str | Path) -> Json:
    """Return the document of a sweep, which is given as such, as a ``SweepSpec``, or as the path of a file.

    Raises:
        DocumentUnreadable: The file holds no document, or cannot be read.
    """
    if isinstance(sweep, str | Path):
        return read(Path(sweep))
    if isinstance(sweep, Mapping):
        return dict(sweep)
    return sweep.model_dump(mode="json")


def read(file: Path) -> Json:
    """Return the document in a file.

    Args:
        file: The file. The endings ``.yaml``, ``.yml`` and ``.toml`` choose the format; any other is JSON.

    Raises:
        DocumentUnreadable: As for ``decode``, or there is no such file, or it cannot be read.
    """
    try:
        raw = file.read_bytes()
    except FileNotFoundError:
        raise DocumentUnreadable(f"there is no file {file}") from None
    except OSError as error:
        raise DocumentUnreadable(f"cannot read {file}: {error.strerror}") from None
    return decode(raw, str(file), file.suffix)


def decode(raw: bytes, name: str, suffix: str = "") -> Json:
    """Return the document in the content of a file.

    Args:
        raw: The content.
        name: What error messages call the file.
        suffix: The ending of its name, which chooses the format.

    Raises:
        DocumentUnreadable: The syntax is wrong, or it holds what strict JSON cannot hold (``strict_json.decode``), or
            another value than an object. If the syntax is wrong, the message names the line and column.
    """
    translate = _TO_JSON.get(suffix.lower())
    try:
        document = strict_json.decode(raw if translate is None else translate(raw, name))
    except strict_json.NotStrictJson as error:
        first = error.errors[0]
        if error.malformed:
            text = f"{name} {first.problem}: found {first.given}; expected {first.allowed}"
            raise DocumentUnreadable(text) from None
        raise DocumentUnreadable(f"{name} is not a sweep document:", [one.as_dict() for one in error.errors]) from None
    if not isinstance(document, dict):
        raise DocumentUnreadable(f"{name} does not hold an object; a sweep is an object: {{...}}")
    return document


def _from_toml(raw: bytes, name: str) -> bytes:
    try:
        return _as_json(tomllib.loads(raw.decode()), name)
    except UnicodeDecodeError as error:
        raise DocumentUnreadable(f"{name} is not text in UTF-8: byte {error.start} is wrong") from None
    except tomllib.TOMLDecodeError as error:
        raise DocumentUnreadable(f"{name} is not TOML: {error}") from None


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
                    line = node.value[place][0].start_mark.line + 1
                    raise DocumentUnreadable(f"{name}, line {line}: {key} {problem}")
            found: dict[Any, Any] = super().construct_mapping(node, deep=deep)
            return found

    # An anchor may be used again and again, so that a short text stands for a huge document.
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(raw, Loader=yaml.SafeLoader)):
            raise DocumentUnreadable(f"{name} uses an alias (*name); write out what it stands for")
        return _as_json(yaml.load(raw, Loader=UniqueKeys), name)
    except RecursionError:
        raise DocumentUnreadable(f"{name} is nested too deep; at most {strict_json.MAX_DEPTH} levels") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise DocumentUnreadable(f"{name} is not YAML{place}: {error.problem}") from None
    except yaml.YAMLError as error:
        raise DocumentUnreadable(f"{name} is not YAML: {' '.join(str(error).split())}") from None


def _as_json(document: Any, name: str) -> bytes:
    def refuse(value: Any) -> Any:
        what = f"{value} ({type(value).__name__})"
        text = f"{name} holds {what}, which no field of a sweep takes; write it in quotes if it is text"
        raise DocumentUnreadable(text)

    return json.dumps(document, default=refuse).encode()


_TO_JSON: dict[str, Callable[[bytes, str], bytes]] = {".toml": _from_toml, ".yaml": _from_yaml, ".yml": _from_yaml}
