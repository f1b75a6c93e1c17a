"""One table from the types of pydantic's errors to our sentences: what is wrong with a value and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core.core_schema import ErrorType

FALLBACK = "has a value that is not accepted", "another value, as the field's description in /docs says"
"""What is said of an error whose type is not in ``SENTENCES``."""

_WHOLE = "is not a whole number", "a whole number"
_NUMBER = "is not a number", "a number"
_TRUTH = "is not true or false", "true or false"
_OBJECT = "is not an object", "an object"
_LIST = "is not a list", "a list"
_CHOICE = "is not one of the values allowed", "{expected}"
_TAG = "is not one of the kinds allowed", "one of {expected_tags}"

SENTENCES: dict[str, tuple[str, str]] = {
    "missing": ("is missing", "give this field"),
    "extra_forbidden": ("is not a known field", "leave it out"),
    "greater_than": ("is not above {gt}", "above {gt}"),
    "greater_than_equal": ("is less than {ge}", "at least {ge}"),
    "less_than": ("is not below {lt}", "below {lt}"),
    "less_than_equal": ("is more than {le}", "at most {le}"),
    "finite_number": ("is not a finite number", "a finite number"),
    "int_type": _WHOLE,
    "int_from_float": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": ("is a number with too many digits", "a whole number with fewer digits"),
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "bool_type": _TRUTH,
    "bool_parsing": _TRUTH,
    "string_type": ("is not text", "text"),
    "string_unicode": ("has half of a surrogate pair", "text in Unicode"),
    "string_too_short": ("is shorter than {min_length}", "at least {min_length}"),
    "string_too_long": ("is longer than {max_length}", "at most {max_length}"),
    "string_pattern_mismatch": ("has characters that are not allowed", "{pattern}"),
    "too_short": ("has fewer than {min_length}", "at least {min_length}"),
    "too_long": ("has more than {max_length}", "at most {max_length}"),
    "list_type": _LIST,
    "tuple_type": _LIST,
    "dict_type": _OBJECT,
    "mapping_type": _OBJECT,
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "dataclass_type": _OBJECT,
    "invalid_key": ("has a key that is not text", "keys that are text"),
    "literal_error": _CHOICE,
    "enum": _CHOICE,
    "union_tag_invalid": _TAG,
    "union_tag_not_found": ("does not say which kind it is", "give {discriminator}"),
}
"""The problem and what is allowed, by the type of pydantic's error; names in braces are from the error's context."""

_PATTERNS = {
    r"^[A-Za-z0-9][A-Za-z0-9_-]*$": "letters, digits, _ and -, with a letter or digit first",
    r"^(auto|.+:[0-9]{1,5})$": "auto, or the host and port of Ray's head, such as 10.0.0.1:6379",
    r"^(sqlite|postgresql\+psycopg)://.*$": "sqlite:///PATH or postgresql+psycopg://USER@HOST/NAME",
    r"^[!-~]+$": "visible ASCII characters without spaces",
}
_OWN_TYPES = frozenset(get_args(ErrorType))
_RAISED = frozenset({"value_error", "assertion_error"})


def describe(kind: str, context: dict[str, Any], message: str) -> tuple[str, str]:
    """Return what is wrong with a value, as a phrase that follows the name of the field, and what is allowed.

    Args:
        kind: The type of pydantic's error, or of one of our own validators.
        context: The context of the error: bounds and the like, or what a validator of ours allows, as ``expected``.
        message: The message of the error. It is taken only from our own validators, never from pydantic.
    """
    names = {name: _written(name, value, kind) for name, value in context.items()}
    problem, allowed = FALLBACK
    if kind in SENTENCES:
        try:
            problem, allowed = (part.format_map(names) for part in SENTENCES[kind])
        except KeyError:
            problem, allowed = FALLBACK
        if kind in ("string_too_short", "too_short") and context.get("min_length") == 1:
            problem = "has no items" if kind == "too_short" else "is empty"
    elif kind in _RAISED and context.get("error"):
        problem = str(context["error"])
    elif kind not in _OWN_TYPES:
        problem, allowed = message, names.get("expected", allowed)
    return problem, allowed


MAX_LISTED = 16
"""The most names that are listed beside the one that was probably meant."""


def nearest(given: Any, names: Iterable[str], meanings: Mapping[str, str] | None = None) -> str | None:
    """Return the name that was probably meant; None if no name is like what was given.

    Hyphens, spaces and capitals do not count. Then comes a name that what was given begins with, such as ``adding`` for
    ``adding_problem``, and then the most similar one.

    Args:
        given: What was given.
        names: The names that are allowed.
        meanings: Further words by which some of the names are known elsewhere.
    """
    if not isinstance(given, str):
        return None
    known, meant = list(names), given.strip().lower().replace("-", "_").replace(" ", "_")
    if meant in known:
        return meant
    if meanings and meanings.get(meant) in known:
        return meanings[meant]
    begun = [name for name in known if len(name) > 2 and meant.startswith(name)]
    return max(begun, key=len) if begun else next(iter(difflib.get_close_matches(meant, known, n=1)), None)


def one_of(given: Any, names: Iterable[str], meanings: Mapping[str, str] | None = None) -> str:
    """Return what is allowed in place of an unknown name: the one that was probably meant, and the names.

    A list of more than ``MAX_LISTED`` names is left out beside the one that was meant. The arguments are those of
    ``nearest``.
    """
    known = list(names)
    close = nearest(given, known, meanings)
    if close is None:
        return f"one of {', '.join(known)}"
    if len(known) > MAX_LISTED:
        return f"did you mean {close}? It is one of {len(known)} that are allowed; /docs lists them"
    return f"did you mean {close}? one of {', '.join(known)}"


def first_problem(error: ValidationError) -> str:
    """Return the first of pydantic's errors as one line: the field, what is wrong with it, and what is allowed."""
    item = error.errors(include_url=False)[0]
    context = item.get("ctx") or {}
    place = [str(part) for part in (*item["loc"], *([context["name"]] if "name" in context else []))]
    problem, allowed = describe(item["type"], context, str(item["msg"]))
    return f"{'.'.join(place) or 'the document'} {problem}; allowed: {allowed}"


def plain_number(value: Any) -> str:
    """Return a number as a person writes it: ``1`` for 1.0, ``10,000`` for 10000; anything else as text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, float) and not value.is_integer():
        return str(value)
    return f"{int(value):,}"


def _written(name: str, value: Any, kind: str) -> str:
    """Return an entry of an error's context as text, a length with what it counts."""
    if name in ("min_length", "max_length"):
        one = "character" if kind.startswith("string") else "item"
        return f"{plain_number(value)} {one}{'' if value == 1 else 's'}"
    if name == "pattern":
        return _PATTERNS.get(str(value), f"text that matches {value}")
    return plain_number(value)
