"""The commands of docs/curl.md and the client of README, run as they stand against a running service."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from service.stack import Stack

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()
CURL = (ROOT / "docs" / "curl.md").read_text()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_commands_of_the_documentation(stack: Stack, tmp_path: Path) -> None:
    (script,) = re.findall(r"```bash\n(.*?)```", CURL, re.S)
    script = "set -e\n" + script.replace("http://127.0.0.1:8000", stack.url)
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("event: sweep.succeeded") == 1
    assert '"state":"succeeded"' in done.stdout
    assert "space.model.margin.values.0" in done.stdout


def test_the_client_of_the_readme(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = [block for block in re.findall(r"```python\n(.*?)```", README, re.S) if "Client(" in block]
    exec(compile(example.replace("http://127.0.0.1:8000", stack.url), "README.md", "exec"), {})
    assert "model.reflectors" in capsys.readouterr().out
