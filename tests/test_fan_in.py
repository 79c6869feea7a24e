"""The fan-in examples, as people run them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PATIENCE

EXAMPLES = Path(__file__).parent.parent / "examples"
PRODUCE = """
import sys, tachyon
with tachyon.Bus.connect(sys.argv[1]) as bus:
    for number in range(10_000):
        bus.send(b"%d" % number)
"""


def test_asyncio_hears_five_producers(path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "fan_in.py"), str(path)]
    output = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=2 * PATIENCE
    )
    assert output.stdout.splitlines() == [
        f"sensor {i}: 10000 readings, mean {i}.49995" for i in range(5)
    ]
    assert output.stderr == ""


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_trio_and_anyio_hear_five_producers(path: Path, backend: str) -> None:
    command = [sys.executable, str(EXAMPLES / "fan_in_anyio.py"), str(path), "5", backend]
    consumer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    producers = [subprocess.Popen([sys.executable, "-c", PRODUCE, str(path)]) for _ in range(5)]
    output, _ = consumer.communicate(timeout=2 * PATIENCE)
    assert [producer.wait(PATIENCE) for producer in producers] == [0] * 5
    assert consumer.returncode == 0
    assert output == "10000 messages\n" * 5
