"""``python deploy/vendor_page.py``: fetch the libraries of the web page from the npm registry into the tree.

``service/api/page/vendor/manifest.json`` names each package with its version, licence, address and the SHA-256 of its
archive. What is fetched must have that hash. The files are copied as they are, but for the one change that browsers
need: a module that another one imports by the name of a package is imported by its path. ``tests/service/page`` checks
the hashes of the files without a network. To take a newer version, change the manifest by hand and run this again with
``--trust``, which writes the new hashes.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import re
import ssl
import tarfile
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Fetch every package of the manifests of the page and of its tests."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trust", action="store_true", help="write the hashes of what is fetched into the manifests")
    trusted = parser.parse_args().trust
    for folder in ("service/api/page/vendor", "tests/service/page/vendor"):
        fetch(ROOT / folder, trusted)


def fetch(folder: Path, trusted: bool) -> None:
    """Fetch the packages of one folder's manifest; with ``trusted`` write their hashes, else compare them."""
    manifest = folder / "manifest.json"
    document = json.loads(manifest.read_text())
    for package in document["packages"]:
        archive = downloaded(package["url"])
        found = hashlib.sha256(archive).hexdigest()
        if trusted:
            package["sha256"] = found
        elif found != package["sha256"]:
            raise SystemExit(f"{package['url']} has the SHA-256 {found}, and the manifest says {package['sha256']}")
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            for file in package["files"]:
                unpack(files, file, folder)
        print(f"{package['name']} {package['version']}")
    manifest.write_text(json.dumps(document, indent=2) + "\n")


def downloaded(url: str) -> bytes:
    """Return what lies at an address of the npm registry."""
    if not url.startswith("https://registry.npmjs.org/"):
        raise SystemExit(f"{url} is not an address of the npm registry")
    with urllib.request.urlopen(url, context=ssl.create_default_context(), timeout=120) as answer:
        return bytes(answer.read())


def unpack(files: tarfile.TarFile, file: dict[str, Any], folder: Path) -> None:
    """Write one file of an archive into the folder, its imports changed as the manifest says, and note its hash."""
    member = files.extractfile(f"package/{file['from']}")
    assert member is not None, f"the archive has no file {file['from']}"
    content = member.read()
    for name, path in file.get("imports", {}).items():
        pattern = rb'(from\s*)"' + re.escape(name).encode() + b'"'
        content, count = re.subn(pattern, rb'\1"' + path.encode() + b'"', content)
        assert count, f"{file['from']} does not import {name}"
    content = re.sub(rb"\n//# sourceMappingURL=\S+\s*$", b"\n", content)
    target = folder / file["to"]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    file["sha256"] = hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    main()
