"""The archive of source code that a logged model carries: our modules that load a network, under a private name.

A model is loaded on other people's machines, where ``workers`` or ``spectral`` may be a stranger's package or another
version of ours. The modules are therefore copied below a package such as ``_spectral_rnn_model_1f0c9a7e42bd``, and
their imports of each other are rewritten to that name. It ends in a digest of the sources, so models of two releases
can be loaded in one process. The modules are parsed and never imported: importing them would load torch.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import io
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

ENTRY = "workers.models"
"""The module with ``load``. It is packed together with every module of ours that it imports, directly or not."""
PACKAGES = ("workers", "spectral")
PREFIX = "_spectral_rnn_model_"
DIGEST_LENGTH = 12
DATA_SUFFIXES = (".cpp", ".h")
"""The suffixes of the data files that are packed with the modules in the same folder, which read them."""
DISTRIBUTIONS = {"sklearn": "scikit-learn"}
"""The name of the distribution of each module that has another name itself."""

_DYNAMIC_IMPORTS = ("import_module", "find_spec")


@dataclass(frozen=True)
class ModelPackage:
    """The code that loads a model, as one private package in a zip file.

    Attributes:
        name: The package's name, unique to its sources.
        archive: A zip file with one folder, ``name``.
        requirements: The distributions that have to be installed to load a model, as pip reads them, such as
            ``torch==2.13.0``.
    """

    name: str
    archive: bytes
    requirements: tuple[str, ...]


class _Module(NamedTuple):
    """A module as it was read once: its source, and the source parsed."""

    source: bytes
    tree: ast.Module

    @classmethod
    def read(cls, file: Path) -> _Module:
        source = file.read_bytes()
        return cls(source, ast.parse(source))


@cache
def model_package() -> ModelPackage:
    """Build the package, once for each process, from the sources of ``workers`` and ``spectral`` that it would import.

    Raises:
        ModuleNotFoundError: If one of these packages is not installed.
        importlib.metadata.PackageNotFoundError: If a distribution that they need is not installed.
    """
    roots = {name: _root(name) for name in PACKAGES}
    modules = _reachable(roots, _imports, {})
    sources = {path: module.source for path, module in modules.items()}
    sources |= {path: (roots[_top(path)].parent / path).read_bytes() for path in _data_beside(roots, modules)}
    digest = hashlib.sha256()
    for path, content in sorted(sources.items()):
        digest.update(f"{path}\0{len(content)}\0".encode() + content)
    name = PREFIX + digest.hexdigest()[:DIGEST_LENGTH]
    return ModelPackage(name, _archive(name, sources, modules), _requirements(roots, modules))


def rewrite_imports(source: bytes, package: str, tree: ast.Module | None = None) -> bytes:
    """Return a module's source with its absolute imports of our packages redirected to ``package``.

    Imports in functions and under ``TYPE_CHECKING`` are rewritten too, and so is the name given to ``import_module``.
    All else stays as it is, byte for byte. ``import spectral.rnn`` still binds the name ``spectral``.

    Args:
        source: The module in UTF-8.
        package: The name of the package that ``workers`` and ``spectral`` become subpackages of.
        tree: The parsed source, if it is at hand: to parse all modules takes a second.
    """
    lines = source.splitlines(keepends=True)
    replacements = [
        (node.lineno - 1, node.col_offset, old, new)
        for node in ast.walk(tree or ast.parse(source))
        for node, old, new in _replacements(node, package)
    ]
    # from the end backwards, so that earlier offsets stay valid
    for row, column, old, new in sorted(replacements, reverse=True):
        before, after = lines[row][:column], lines[row][column:]
        lines[row] = before + after.replace(old.encode(), new.encode(), 1)
    return b"".join(lines)


def _replacements(node: ast.AST, package: str) -> Iterator[tuple[ast.stmt | ast.expr | ast.alias, str, str]]:
    """Yield (place, old text, new text): the first occurrence of the old text from the place on is to be replaced."""
    if isinstance(node, ast.ImportFrom) and _is_ours(node.module, node.level):
        yield node, str(node.module), f"{package}.{node.module}"
    elif isinstance(node, ast.Import):
        for alias in node.names:
            if _is_ours(alias.name):
                top = alias.name.partition(".")[0]
                new = f"{package}.{alias.name}"
                if alias.asname is None:  # bind the name that the old import bound
                    new = f"{new} as {top}" if alias.name == top else f"{new}, {package}.{top} as {top}"
                yield alias, alias.name, new
    elif (literal := _dynamic_import(node)) is not None:
        name = str(literal.value)
        yield literal, name, f"{package}.{name}"


def _dynamic_import(node: ast.AST) -> ast.Constant | None:
    """Return the literal of a call such as ``import_module("spectral.rnn")``, or None if the node is another one."""
    if not isinstance(node, ast.Call) or not node.args:
        return None
    function, first = node.func, node.args[0]
    called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if called not in _DYNAMIC_IMPORTS or not isinstance(first, ast.Constant) or not isinstance(first.value, str):
        return None
    return first if _is_ours(first.value) else None


def _is_ours(module: str | None, level: int = 0) -> bool:
    return level == 0 and module is not None and module.partition(".")[0] in PACKAGES


def _root(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            f"the package {package} cannot be imported by the controller, so no model can be logged; install it there"
        )
    return Path(spec.origin).parent


def _reachable(
    roots: Mapping[str, Path], imports: Callable[[ast.Module], Iterator[str]], parsed: Mapping[str, _Module]
) -> dict[str, _Module]:
    """Parse ENTRY and every module of ours that it imports, directly or not.

    Args:
        roots: The folder of each package.
        imports: Yields the names that a module imports; they need not all be modules.
        parsed: Modules that are read and parsed already, by path.

    Returns:
        The modules by path, such as ``workers/models/loading.py``.
    """
    found: dict[str, _Module] = {}
    left = [ENTRY]
    while left:
        module = left.pop()
        path = _path(roots, module)
        if path is not None and path not in found:
            found[path] = parsed.get(path) or _Module.read(roots[_top(path)].parent / path)
            left += [module.rpartition(".")[0], *imports(found[path].tree)]
    return found


def _path(roots: Mapping[str, Path], module: str) -> str | None:
    """Return the path of a module of ours, or None for any other name."""
    stem = module.replace(".", "/")
    if _top(stem) not in roots:
        return None
    folder = roots[_top(stem)].parent
    return next((path for path in (f"{stem}.py", f"{stem}/__init__.py") if (folder / path).is_file()), None)


def _top(path: str) -> str:
    return path.partition("/")[0]


def _data_beside(roots: Mapping[str, Path], modules: Iterable[str]) -> set[str]:
    """Return the paths of the data files beside modules."""
    folders = {str(Path(module).parent) for module in modules}
    files = {f"{folder}/{file.name}" for folder in folders for file in (roots[_top(folder)].parent / folder).iterdir()}
    return {file for file in files if file.endswith(DATA_SUFFIXES)}


def _imports(tree: ast.AST) -> Iterator[str]:
    """Yield each name that is imported absolutely anywhere in the tree, in functions and by ``import_module`` too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif (literal := _dynamic_import(node)) is not None:
            yield str(literal.value)


def _imports_on_loading(tree: ast.AST) -> Iterator[str]:
    """Yield the names that are imported as soon as the module is loaded."""
    for statement in ast.iter_child_nodes(tree):
        if isinstance(statement, ast.Import | ast.ImportFrom):
            yield from _imports(statement)
        elif isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
            yield from _imports_on_loading(ast.Module(statement.orelse, []))
        elif isinstance(statement, ast.If | ast.Try | ast.With | ast.ClassDef):
            yield from _imports_on_loading(statement)


def _archive(name: str, sources: Mapping[str, bytes], modules: Mapping[str, _Module]) -> bytes:
    content = io.BytesIO()
    files = {"__init__.py": b'"""The code of a trained Spectral-RNN, as it was when the model was logged."""\n'}
    files |= {
        path: rewrite_imports(source, name, modules[path].tree) if path in modules else source
        for path, source in sources.items()
    }
    with zipfile.ZipFile(content, "w") as archive:
        for path, source in sorted(files.items()):  # ZipInfo carries no clock time: equal sources, equal archives
            archive.writestr(zipfile.ZipInfo(f"{name}/{path}"), source, zipfile.ZIP_DEFLATED)
    return content.getvalue()


def _requirements(roots: Mapping[str, Path], parsed: Mapping[str, _Module]) -> tuple[str, ...]:
    """Return the distributions without which ENTRY cannot be imported, each with the version installed here.

    Imports inside functions do not count: they serve training, its data and its accelerators.
    """
    modules = {
        name.partition(".")[0]
        for module in _reachable(roots, _imports_on_loading, parsed).values()
        for name in _imports_on_loading(module.tree)
    }
    foreign = modules - sys.stdlib_module_names - set(PACKAGES)
    names = sorted(DISTRIBUTIONS.get(module, module) for module in foreign)
    return tuple(f"{name}=={version(name).partition('+')[0]}" for name in names)
