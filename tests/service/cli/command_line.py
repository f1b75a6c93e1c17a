"""The command line in this process: what a command prints, where, and its exit code."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

import pytest

from service.cli.main import main


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


def spectral(*arguments: str, url: str = "http://127.0.0.1:1", text: str = "") -> Done:
    """Run the command in this process; an exception that it lets through fails the test."""
    out, err = io.StringIO(), io.StringIO()
    given = io.TextIOWrapper(io.BytesIO(text.encode()))
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["spectral", *arguments])
        patch.setattr(sys, "stdin", given)
        patch.setenv("SPECTRAL_URL", url)
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        else:
            code = 0
    return Done(code, out.getvalue(), err.getvalue())
