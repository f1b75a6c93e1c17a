"""What the faults are made of does what it says: the relay, and the small disk."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.relay import Relay
from tests.faults.small_disk import SmallDisk
from tests.faults.watchers import CheckpointWatch, half_checkpoints


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    """A relay before a server that sends back what it gets."""
    path = tmp_path / "echo"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve(connection: socket.socket) -> None:
            with connection:
                while content := connection.recv(100):
                    connection.sendall(content)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        with Relay(path) as between:
            yield between
        listener.shutdown(socket.SHUT_RDWR)


def ask(connection: socket.socket, text: bytes) -> bytes:
    connection.sendall(text)
    found = connection.recv(100)
    if not found:
        raise ConnectionResetError("nothing came")
    return found


def test_a_relay_passes_on_until_it_is_cut_and_again_once_it_is_mended(relay: Relay) -> None:
    with socket.create_connection(("127.0.0.1", relay.port), timeout=30) as before:
        assert ask(before, b"one") == b"one"
        relay.cut()
        with pytest.raises(OSError, match=r"reset|pipe|nothing came"):
            ask(before, b"two")
    relay.mend()
    with socket.create_connection(("127.0.0.1", relay.port), timeout=30) as after:
        assert ask(after, b"three") == b"three"


def test_a_small_disk_is_full_or_read_only_until_it_is_mended(tmp_path: Path) -> None:
    with SmallDisk(tmp_path / "disk") as disk:
        if not disk.mounted:
            pytest.skip("this process may not mount a disk, which needs root")
        file = tmp_path / "disk" / "file"
        disk.fill()
        with pytest.raises(OSError, match="No space") as full:
            file.write_bytes(b"x")
        assert full.value.errno == errno.ENOSPC
        disk.mend()
        file.write_bytes(b"x")
        disk.make_read_only()
        with pytest.raises(OSError, match="Read-only") as refused:
            file.write_bytes(b"y")
        assert refused.value.errno == errno.EROFS
        disk.mend()
        file.write_bytes(b"z")
    assert not file.exists()


def write(folder: Path, step: int, at: int = 0) -> Path:
    """Write a checkpoint whose manifest bears a time in nanoseconds, which some disks keep only to milliseconds."""
    checkpoint = folder / "trial" / f"step-{step:09d}"
    checkpoint.mkdir(parents=True, exist_ok=True)
    (checkpoint / "new").write_text(str(step))
    os.utime(checkpoint / "new", ns=(at, at))
    return (checkpoint / "new").rename(checkpoint / "manifest.json")


def test_checkpoints_that_are_written_again_are_noticed(tmp_path: Path) -> None:
    watch = CheckpointWatch(tmp_path)
    watch.stop()
    for step, at in ((0, 1), (20, 2), (40, 3)):  # one of a trial that is paused before it begins is of step 0
        write(tmp_path, step, at)
        watch.look()
    assert watch.again == []
    for step, at in ((40, 4), (60, 5)):
        write(tmp_path, step, at)
        watch.look()
    assert watch.again == [("trial", 40)]


def test_a_checkpoint_is_half_written_until_it_has_a_manifest(tmp_path: Path) -> None:
    write(tmp_path, 20)
    half = tmp_path / "trial" / "step-000000040"
    half.mkdir()
    (half / ".model.safetensors.1.tmp").touch()
    assert half_checkpoints(tmp_path) == [half, half / ".model.safetensors.1.tmp"]
    write(tmp_path, 40)
    (half / ".model.safetensors.1.tmp").unlink()
    assert half_checkpoints(tmp_path) == []
