"""A hook of mkdocs: the pages of reference, made from the code so that they cannot differ from it."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

FIRST = ("sweeps", "trials", "after the end", "catalogue")
"""The groups of calls with which the page of REST begins."""
CLIENTS = (
    *("Client", "SweepHandle", "ListedSweep", "TrialHandle", "Rows", "MetricHistory", "RestClient"),
    *("ApiError", "ServiceUnreachable", "SweepFailed", "DocumentUnreadable", "NetworkUnreadable"),
)
"""The classes of the client, in the order of their page."""
METHODS = ("get", "post", "put", "patch", "delete")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of reference to those that mkdocs has found."""
    pages = {"sweep": sweep, "rest": rest, "cli": cli, "client": client, "spectral": layer}
    for name, lines in pages.items():
        text = "\n".join(lines()) + "\n"
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def sweep() -> Iterator[str]:
    """Yield the page of a sweep's fields."""
    from workers.spec.sweep import SweepSpec
    from workers.tasks import TASKS

    schema = SweepSpec.model_json_schema()
    known = schema["$defs"]
    yield "# Fields of a sweep"
    yield (
        "\nA sweep is one document in JSON, YAML or TOML. Every field has a default but those marked as required. "
        "`spectral validate FILE` checks a document, and names the fields that are wrong.\n"
    )
    yield from _fields(schema, known)
    for name, about in schema["properties"].items():
        part = _target(about, known)
        if part is not None and name != "task":
            yield f"\n## `{name}`\n"
            yield from _fields(part, known)
    for name, task in TASKS.items():
        own = task.model_json_schema()
        yield f"\n## `task`: `{name}`\n\n{task.summary}\n\nMetrics: " + ", ".join(
            f"`val/{metric}` ({direction})" for metric, direction in task.metrics.items()
        )
        yield ""
        yield from _fields(own, own.get("$defs", {}))


def rest() -> Iterator[str]:
    """Yield the page of the calls."""
    from service.api.app import create_app
    from service.settings import ApiSettings

    schema = create_app(ApiSettings(database_url="sqlite:///documentation.db")).openapi()
    known = schema["components"]["schemas"]
    yield "# REST"
    yield f"\n{schema['info']['description']}\n"
    yield (
        "Errors are problem documents (RFC 9457) with `title`, `status`, `detail` and `errors`: the wrong fields, each "
        "with what was given and what is allowed. A service with tokens wants the header "
        "`Authorization: Bearer TOKEN`.\n"
    )
    by_tag: dict[str, list[tuple[str, str, Any]]] = {tag: [] for tag in FIRST}
    for path, calls in schema["paths"].items():
        for method in METHODS:
            if method in calls:
                by_tag.setdefault(calls[method].get("tags", ["service"])[0], []).append((method, path, calls[method]))
    answers = [call["responses"] for calls in by_tag.values() for _, _, call in calls]
    everywhere = set.intersection(*map(set, answers))
    refused = {status: answer for status, answer in answers[0].items() if status in everywhere}
    yield "Every call may answer with these:\n"
    yield from _answers(refused)
    for tag, calls in by_tag.items():
        yield f"\n## {tag.capitalize()}"
        for method, path, call in calls:
            yield f"\n### `{method.upper()} {path}`\n\n{_text(call.get('description', call.get('summary', '')))}\n"
            yield from _parameters(call)
            yield f"\n```bash\n{_curl(method, path, call)}\n```\n"
            own = {status: answer for status, answer in call["responses"].items() if status not in everywhere}
            yield from _answers(own)
    yield "\n## Documents"
    for name, about in sorted(known.items()):
        yield f"\n### {name}\n\n{_text(about.get('description', ''))}\n"
        yield from _fields(about, known)


def cli() -> Iterator[str]:
    """Yield the page of the commands."""
    import typer.main

    from service.cli.main import app

    yield "# Command line\n\nThe command is `spectral`. Every command prints its help with `--help`.\n"
    yield (
        "The exit code is 0 for success, 2 for what you can put right, 4 for a sweep or trial that is not there, and 5 "
        "if no service answers. An id may be shortened; `last` is the newest sweep and `last-7` its trial 7.\n"
    )
    yield from _commands("spectral", typer.main.get_command(app))


def client() -> Iterator[str]:
    """Yield the page of the clients."""
    import service.client

    yield "# Python client\n"
    yield _docstring(service.client)
    yield (
        "The asynchronous twin of each class has a name that begins with `Async`. How to use them: "
        "[Use it from Python](../python-client.md)."
    )
    shown: set[Any] = set()
    for name in CLIENTS:
        yield from _class(getattr(service.client, name), "service.client", shown)


def layer() -> Iterator[str]:
    """Yield the page of the package ``spectral``."""
    import spectral

    yield "# The layer\n"
    yield _docstring(spectral)
    for name in spectral.__all__:
        subject = getattr(spectral, name)
        if inspect.isclass(subject):
            yield from _class(subject, "spectral")
        elif callable(subject):
            yield f"\n## `{name}{_signature(subject)}`\n\n{_docstring(subject)}"


def _fields(schema: Mapping[str, Any], known: Mapping[str, Any]) -> Iterator[str]:
    """Yield a table of the fields of an object's schema."""
    fields = schema.get("properties", {})
    if not fields:
        return
    required = set(schema.get("required", ()))
    yield "| field | type | default | meaning |\n|---|---|---|---|"
    for name, about in fields.items():
        default = "required" if name in required else _default(about, known)
        yield f"| `{name}` | {_type(about, known)} | {default} | {_cell(about.get('description', ''))} |"


def _default(about: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    """Return the default of a field; a dash for none, and for objects, whose fields have their own."""
    value = about.get("default")
    return "-" if value is None or (value and _target(about, known) is not None) else _code(value)


def _type(about: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    """Return what a value may be, in words, with its bounds."""
    if "$ref" in about:
        name = about["$ref"].rpartition("/")[2]
        return _type(known[name], known) if "properties" not in known.get(name, {}) else name
    for key in ("anyOf", "oneOf"):
        if key in about:
            return " or ".join(dict.fromkeys(_type(one, known) for one in about[key]))
    if "const" in about:
        return _code(about["const"])
    if "enum" in about:
        return ", ".join(_code(one) for one in about["enum"])
    kind = about.get("type", "any value")
    if kind == "null":
        return "null"
    if kind == "array":
        return f"list of {_type(about.get('items', {}), known)}"
    bounds = [
        f"{sign} {about[key]:,}"
        for key, sign in (("minimum", ">="), ("exclusiveMinimum", ">"), ("maximum", "<="), ("exclusiveMaximum", "<"))
        if key in about
    ]
    named = kind if isinstance(kind, str) else " or ".join(kind)
    return " ".join([named, *([", ".join(bounds)] if bounds else [])])


def _target(about: Mapping[str, Any], known: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the schema of the object that a field holds; None if it holds none."""
    if "$ref" in about:
        found: Mapping[str, Any] = known[about["$ref"].rpartition("/")[2]]
        return found if "properties" in found else None
    return next((part for one in about.get("anyOf", ()) if (part := _target(one, known)) is not None), None)


def _parameters(call: Mapping[str, Any]) -> Iterator[str]:
    rows = call.get("parameters", [])
    if rows:
        yield "| parameter | in | meaning |\n|---|---|---|"
        for row in rows:
            name = f"`{row['name']}`" + (" (required)" if row.get("required") and row["in"] != "path" else "")
            yield f"| {name} | {row['in']} | {_cell(row.get('description', ''))} |"


def _curl(method: str, path: str, call: Mapping[str, Any]) -> str:
    filled = re.sub(r"\{sweep_id\}", "sw0123456789", path)
    filled = re.sub(r"\{trial_id\}", "sw0123456789-0007", filled)
    filled = re.sub(r"\{(\w+)\}", lambda found: found[1].upper(), filled)
    words = ["curl -s", *([] if method == "get" else [f"-X {method.upper()}"]), f"http://127.0.0.1:8000{filled}"]
    if "requestBody" in call:
        words.append("-H 'Content-Type: application/json' -d @document.json")
    return " ".join(words)


def _answers(answers: Mapping[str, Any]) -> Iterator[str]:
    for status, answer in sorted(answers.items()):
        content = answer.get("content", {})
        schema = next(iter(content.values()), {}).get("schema", {}) if content else {}
        shown = f": {_link(schema)}" if schema else ""
        yield f"- **{status}** {_text(answer.get('description', ''))}{shown}"


def _link(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if schema.get("type") == "array" and "items" in schema:
        return f"list of {_link(schema['items'])}"
    return str(schema.get("type", ""))


def _commands(name: str, command: Any) -> Iterator[str]:
    own = getattr(command, "commands", None)
    if own:
        for child, of_child in own.items():
            yield from _commands(f"{name} {child}", of_child)
        return
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    usage = " ".join(
        f"{p.metavar or p.name.upper()}" if p.required else f"[{p.metavar or p.name.upper()}]" for p in arguments
    )
    yield f"\n## `{name}`\n\n{_text(inspect.cleandoc(command.help or ''))}\n"
    yield f"```\n{' '.join([name, *([usage] if usage else []), '[OPTIONS]'])}\n```\n"
    rows = [p for p in command.params if getattr(p, "help", None)]
    if rows:
        yield "| argument or option | default | meaning |\n|---|---|---|"
        for row in rows:
            names = (
                ", ".join(f"`{opt}`" for opt in row.opts)
                if row.param_type_name == "option"
                else f"`{row.name.upper()}`"
            )
            shown = row.default if not callable(row.default) else None
            default = "required" if row.required else "-" if shown in (None, False, []) else _code(shown)
            yield f"| {names} | {default} | {_cell(row.help)} |"


def _class(subject: type, module: str, shown: set[Any] | None = None) -> Iterator[str]:
    """Yield what a class is, the fields of a document, and its methods, also those of its bases in the package.

    Args:
        subject: The class.
        module: The package.
        shown: The methods that other classes of the page have shown; those of this one are added. None for none.
    """
    shown = set() if shown is None else shown
    fields = getattr(subject, "model_fields", {})
    signature = "" if fields else _signature(subject)
    yield f"\n## `{module}.{subject.__name__}{signature}`\n\n{_docstring(subject)}"
    if fields:
        yield "| attribute | meaning |\n|---|---|"
        yield from (f"| `{name}` | {_cell(field.description or '')} |" for name, field in fields.items())
    for name, member in inspect.getmembers(subject):
        of_package = (getattr(member, "__module__", None) or "").startswith(module)
        if name.startswith(("_", "model_")) or not callable(member) or not (name in vars(subject) or of_package):
            continue
        known = getattr(member, "__func__", member)
        if known in shown:
            continue
        shown.add(known)
        yield f"\n### `{name}{_signature(member)}`\n\n{_docstring(member)}"


def _signature(subject: Any) -> str:
    try:
        signature = inspect.signature(subject)
    except (TypeError, ValueError):
        return ""
    own = [p.replace(annotation=inspect.Parameter.empty) for name, p in signature.parameters.items() if name != "self"]
    return str(signature.replace(parameters=own, return_annotation=inspect.Signature.empty)).replace("Ellipsis", "...")


def _docstring(subject: Any) -> str:
    """Return a docstring in Google's style as Markdown: its sections become lists."""
    lines, section = [], False
    for line in (inspect.getdoc(subject) or "").splitlines():
        heading = re.fullmatch(r"(Args|Returns|Raises|Yields|Attributes|Example|Examples):", line)
        entry = re.fullmatch(r"    (\*{0,2}[\w.]+): (.*)", line) if section else None
        if heading:
            lines += ["", f"**{heading[1]}**", ""]
            section = heading[1] not in ("Returns", "Yields", "Example", "Examples")
        elif entry:
            lines.append(f"- `{entry[1]}`: {_text(entry[2])}")
        else:
            lines.append(_text(line) if not line.startswith("    ") or section else line)
    return "\n".join(lines) + "\n"


def _text(text: str) -> str:
    """Return text of a docstring as Markdown: double backquotes become single ones."""
    return text.replace("``", "`")


def _cell(text: str) -> str:
    return " ".join(_text(text).split()).replace("|", "\\|")


def _code(value: Any) -> str:
    return f"`{json.dumps(value, default=str)}`".replace("|", "\\|")
