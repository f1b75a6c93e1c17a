"""The edge of the distribution: the ``spectral`` command, and checks that the right packages were found.

``spectral``, ``workers`` and ``service`` are names that other projects use too. No other project has a module of this
name, so it can say which package was found in place of ours. It imports nothing but the standard library.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

DISTRIBUTION = "spectral-rnn-service"
"""The name on a package index. The ``__init__`` of each of our packages contains it."""

PACKAGES = ("spectral", "workers", "service")


class ForeignPackageError(ImportError):
    """Another project's package was found under the name of one of ours."""


class MissingExtraError(ModuleNotFoundError):
    """A package is not installed that belongs to one of our optional dependencies."""


def main() -> None:
    """Run the ``spectral`` command. A foreign or missing package ends it with one sentence and exit status 2."""
    try:
        check_packages(*PACKAGES)
        if sys.argv[1:] == ["--version"]:
            print(f"spectral {installed_version()}")
            return
        from service.cli.main import main as run_command

        run_command()
    except (ForeignPackageError, MissingExtraError) as error:
        print(f"spectral: {error}", file=sys.stderr)
        sys.exit(2)
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if not module or module in PACKAGES:
            raise
        print(f"spectral: {_missing('service', module)}", file=sys.stderr)
        sys.exit(2)


def installed_version() -> str:
    """Return the version of the installed distribution."""
    from importlib.metadata import version

    return version(DISTRIBUTION)


def check_packages(*names: str) -> None:
    """Raise ForeignPackageError if Python finds another project's package under one of the names. None is imported."""
    for name in names:
        spec = find_spec(name)
        if spec is None:
            continue  # the import itself says so
        if spec.origin is None or DISTRIBUTION.encode() not in Path(spec.origin).read_bytes():
            raise ForeignPackageError(_foreign(name, spec.origin or str(spec.submodule_search_locations)), name=name)


def check_extra(extra: str, *modules: str) -> None:
    """Raise MissingExtraError if a module is not installed that the extra, such as ``train``, installs."""
    for module in modules:
        if find_spec(module) is None:
            raise MissingExtraError(_missing(extra, module), name=module)


def _foreign(name: str, found: str) -> str:
    from importlib.metadata import packages_distributions

    owners = sorted(set(packages_distributions().get(name, [])) - {DISTRIBUTION})
    remedy = f"Uninstall {owners[0]} (pip uninstall {owners[0]})" if owners else "Take its folder off PYTHONPATH"
    return (
        f"The package '{name}' should be the one of {DISTRIBUTION}, but Python finds another project's at {found}. "
        f"{remedy}, or use another virtual environment; if it has overwritten ours, install {DISTRIBUTION} again."
    )


def _missing(extra: str, module: str) -> str:
    return f"The package '{module}' is not installed. Install what is needed: pip install '{DISTRIBUTION}[{extra}]'"
