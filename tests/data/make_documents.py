"""Write ``documents_VERSION.json``: sweep documents as this release stores them, and the trials it plans from them.

Later releases must read these documents and plan the same trials. Run it once for each release, in the project's root,
with the data that the examples need: ``SPECTRAL_DATA_DIR=... python -m tests.data.make_documents``.
"""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Any

from workers.spec.expand import points_of
from workers.spec.model import KINDS
from workers.spec.parse import parse_sweep

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Write the file of the version that pyproject.toml names: all examples, and a sweep of every kind of network."""
    documents: dict[str, Any] = {
        path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "examples").glob("*.json"))
    }
    for kind in sorted(KINDS):
        model = {"kind": kind, "hidden_size": 8, "layers": 2}
        documents[kind] = {"task": {"name": "digits"}, "model": model, "space": {"training.lr": [0.01]}}
    found = {}
    for name, document in documents.items():
        spec = parse_sweep(document, Path(os.environ["SPECTRAL_DATA_DIR"]))
        found[name] = {"document": spec.model_dump(mode="json"), "points": list(points_of(spec))}
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    target = Path(__file__).with_name(f"documents_{version.replace('.', '_')}.json")
    # in the order of the documents: the order of a grid's trials follows it
    target.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{target.name}: {len(found)} documents")


if __name__ == "__main__":
    main()
