"""The edge of the distribution: the ``spectral`` command, and checks that the right packages were found.

``spectral``, ``workers`` and ``service`` are names that other projects use too. No other project has a module of this
name, so it can say which package was found in place of ours. It imports nothing but the standard library, until a
client is asked for: ``from spectral_rnn_service import Client`` is ``from service.client import Client``.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from service.client import AsyncClient, Client

__all__ = ["AsyncClient", "Client", "check_extra", "check_packages", "main"]

DISTRIBUTION = "spectral-rnn-service"
"""The name on a package index. The ``__init__`` of each of our packages contains it."""

PACKAGES = ("spectral", "workers", "service")


class ForeignPackageError(ImportError):
    """Python finds another project's package under the name ``spectral``, ``workers`` or ``service``."""


class MissingExtraError(ModuleNotFoundError):
    """A module cannot be imported because the extra that installs it, such as ``service``, was left out."""


def __getattr__(name: str) -> Any:
    if name not in ("AsyncClient", "Client"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from service import client

    return getattr(client, name)


def main() -> None:
    """Run the ``spectral`` command with the arguments of this process.

    Packages are looked for in the folders of PYTHONPATH last, and variables meant for other programs are removed from
    this process (``service.environment``). If a package is missing, or another project's package has the name of one
    of ours, one sentence goes to standard error and the exit status is 2.
    """
    foreign = folders_of_pythonpath()
    sys.path[:] = [*(folder for folder in sys.path if folder not in foreign), *foreign]
    try:
        check_packages(*PACKAGES)
        if sys.argv[1:] == ["--version"]:
            print(f"spectral {installed_version()}")
            return
        from service import environment
        from service.cli.main import main as run_command

        environment.leave_to_others()
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


def folders_of_pythonpath() -> list[str]:
    """Return the entries of ``sys.path`` that come from PYTHONPATH, without the folder that holds our own packages.

    They may hold another project's packages, of the same names as ours or as those that we need.
    """
    variable = "" if sys.flags.ignore_environment else os.environ.get("PYTHONPATH", "")
    if not variable:
        return []
    given = {os.path.abspath(folder) for folder in variable.split(os.pathsep)} - {str(Path(__file__).parent)}
    return [folder for folder in sys.path if folder in given]


def installed_version() -> str:
    """Return the version of this distribution, such as ``0.1.0``, or ``unknown (not installed)``."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown (not installed)"


def check_packages(*names: str) -> None:
    """Check, without importing them, that the packages that Python finds under these names are ours.

    A package is ours if its ``__init__.py`` contains the name of the distribution. A name under which Python finds
    nothing passes, because the import itself fails then.

    Raises:
        ForeignPackageError: A package is another project's, or a folder without ``__init__.py``.
    """
    for name in names:
        spec = find_spec(name)
        if spec is None:
            continue  # the import itself says so
        if spec.origin is None or DISTRIBUTION.encode() not in Path(spec.origin).read_bytes():
            raise ForeignPackageError(_foreign(name, spec.origin or str(spec.submodule_search_locations)), name=name)


def check_extra(extra: str, *modules: str) -> None:
    """Raise MissingExtraError for the first of ``modules`` that Python cannot find.

    Args:
        extra: The extra that installs the modules, such as ``train``; the message says how to install it.
        modules: Names of top-level modules.
    """
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
