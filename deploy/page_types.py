"""``python deploy/page_types.py``: write the types of the API's documents for the scripts of the web page.

They are made from the OpenAPI schema. With ``--check`` nothing is written, and the exit status is 1 if the file
differs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from service.api.app import create_app
from service.settings import ApiSettings

TARGET = Path(__file__).resolve().parent.parent / "service/api/page/documents.d.ts"
HEADER = "// Written by `make page-types` from the OpenAPI schema: the documents of the API.\n"
SIMPLE = {"string": "string", "number": "number", "integer": "number", "boolean": "boolean", "null": "null"}


def text() -> str:
    """Return the declarations of all documents of the OpenAPI schema."""
    schemas = create_app(ApiSettings(database_url="sqlite:///unused.db")).openapi()["components"]["schemas"]
    return HEADER + "".join(f"\n{declaration(name, schema)}" for name, schema in sorted(schemas.items()))


def declaration(name: str, schema: dict[str, Any]) -> str:
    """Return the declaration of one document, or of a list of words."""
    if "properties" not in schema:
        return f"export type {name} = {kind(schema)};\n"
    needed = {*schema.get("required", ()), *(n for n, part in schema["properties"].items() if "default" in part)}
    fields = (
        f"  {field}{'' if field in needed else '?'}: {kind(part)};\n" for field, part in schema["properties"].items()
    )
    return f"export interface {name} {{\n{''.join(fields)}}}\n"


def kind(part: dict[str, Any]) -> str:
    """Return the TypeScript type of a JSON schema."""
    if "$ref" in part:
        return str(part["$ref"]).rpartition("/")[2]
    choices = part.get("anyOf") or part.get("oneOf") or part.get("allOf")
    if choices:
        return " | ".join(dict.fromkeys(map(kind, choices)))
    if "enum" in part:
        return " | ".join(f'"{value}"' if isinstance(value, str) else str(value) for value in part["enum"])
    if "const" in part:
        return f'"{part["const"]}"'
    given = part.get("type")
    if isinstance(given, list):
        return " | ".join(SIMPLE[one] for one in given)
    if given == "array":
        if "prefixItems" in part:
            return f"[{', '.join(map(kind, part['prefixItems']))}]"
        return f"({kind(part.get('items', {}))})[]"
    if given == "object":
        inner = part.get("additionalProperties")
        return f"Record<string, {kind(inner) if isinstance(inner, dict) and inner else 'any'}>"
    return SIMPLE.get(str(given), "any")


if __name__ == "__main__":
    new = text()
    if "--check" in sys.argv:
        sys.exit("run make page-types: the documents of the API have changed" if TARGET.read_text() != new else 0)
    TARGET.write_text(new)
