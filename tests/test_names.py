"""Names in the tree: one type name for one thing, and no two files that are each other's words turned round."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("spectral", "workers", "service", "study", "benchmarks")


def modules() -> Iterator[Path]:
    """Yield every Python file of the packages, relative to the root."""
    for package in PACKAGES:
        yield from (path.relative_to(ROOT) for path in sorted((ROOT / package).rglob("*.py")))


def types_of(path: Path) -> Iterator[str]:
    """Yield the public types that a module defines: classes, and aliases in CapWords."""
    for node in ast.parse((ROOT / path).read_text()).body:
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and target.id[0].isupper() and not target.id.isupper():
                yield target.id


def test_no_public_type_name_is_defined_twice() -> None:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in modules():
        for name in types_of(path):
            if not name.startswith("_"):
                found[name].append(str(path))
    assert len(found) > 200, "the walk of the tree found too little"
    assert {name: paths for name, paths in found.items() if len(paths) > 1} == {}


def test_no_two_files_of_a_package_have_the_same_words_in_another_order() -> None:
    found: defaultdict[tuple[str, frozenset[str]], list[str]] = defaultdict(list)
    for path in modules():
        stem = path.stem.strip("_")
        # "training" and "train" are one word here: cut the endings that turn a verb into a noun.
        words = frozenset(word.removesuffix("ing").removesuffix("er").removesuffix("s") for word in stem.split("_"))
        if len(words) > 1:
            found[path.parts[0], words].append(str(path))
    assert [paths for paths in found.values() if len(paths) > 1] == []
