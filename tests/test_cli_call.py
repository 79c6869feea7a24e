"""tachyon call."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import tachyon


@tachyon.rpc(msg_type=1)
def reverse(request: memoryview) -> bytes:
    return bytes(request)[::-1]


def call(*arguments: object, request: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    words = [sys.executable, "-m", "tachyon", "call", *map(str, arguments)]
    return subprocess.run(words, input=request, capture_output=True, timeout=60, check=False)


def test_call_prints_the_reply(path: Path, folder: Path) -> None:
    file = folder / "request"
    file.write_bytes(b"from a file")
    with tachyon.RpcServer(path, tachyon.Dispatcher().register(reverse)):
        assert call(path, "--type", 1, request=b"abc").stdout == b"cba"
        assert call(path, "--type", 1, file).stdout == b"elif a morf"
        failed = call(path, "--type", 9)
    assert failed.returncode == 1
    assert b"no endpoint for msg_type 9" in failed.stderr


def test_call_without_a_server_times_out(path: Path) -> None:
    run = call(path, "--type", 1, "--timeout", 0.05)
    assert (run.returncode, run.stdout) == (3, b"")


def test_call_needs_a_type(path: Path) -> None:
    assert call(path).returncode == 2
