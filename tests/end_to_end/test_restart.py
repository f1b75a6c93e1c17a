"""The stack itself killed or stopped: nothing is left running, and the next start goes on with what was unfinished."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from service.client import RestClient
from service.stack import HomeBusy, Stack, guard, ports
from service.store import migrations
from tests.end_to_end.small_sweep import STEPS, SWEEP, Json, first_report, told
from tests.waiting import until

UP = """
import sys
from pathlib import Path
from service.stack import up
sys.exit(up(Path(sys.argv[1]), *map(int, sys.argv[2:])))
"""


def test_a_killed_stack_leaves_no_process_and_goes_on_when_started_again(
    tmp_path: Path, client: RestClient, undisturbed: Json
) -> None:
    home = tmp_path / "home"
    port, mlflow_port = ports.free(2)
    with subprocess.Popen([sys.executable, "-c", UP, str(home), str(port), str(mlflow_port), "2"]) as supervisor:
        with RestClient(f"http://127.0.0.1:{port}", patience=90) as first:
            sweep_id = first.submit(SWEEP)["id"]
            first_report(first, sweep_id)
        with pytest.raises(HomeBusy, match=f"process {supervisor.pid}"):
            Stack(home, 0, 0).start()
        supervisor.kill()
    until(lambda: not guard.members(str(home)), 30)
    # as if a release with the first schema had been killed, and this one were started in its home
    migrations.downgrade(f"sqlite:///{home / 'spectral.db'}", "0001")
    with Stack(home, 0, 0, cpus=2) as stack, RestClient(stack.url) as again:
        assert again.wait(sweep_id)["state"] == "succeeded"
        assert all(trial["step"] == STEPS[-1] for trial in again.trials(sweep_id))
        assert told(again, sweep_id) == told(client, undisturbed["id"])


def test_ctrl_c_ends_everything_with_exit_code_zero(tmp_path: Path) -> None:
    home = tmp_path / "home"
    port, mlflow_port = ports.free(2)
    command = [sys.executable, "-c", UP, str(home), str(port), str(mlflow_port), "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        banner = next(line for line in supervisor.stdout if "is up" in line)
        assert "Ctrl-C stops it" in banner
        supervisor.send_signal(signal.SIGINT)
        assert supervisor.wait(60) == 0
    assert guard.members(str(home)) == []
