"""Another interpreter in the same process: it has buses of its own, and its waits end."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

from conftest import PACKAGE_FOLDER, PATIENCE

CODE = """
    import os, sys, threading
    sys.path.insert(0, {package!r})
    import tachyon

    path = {path!r}
    with tachyon.Listener(path) as listener:
        ends = []
        thread = threading.Thread(target=lambda: ends.append(tachyon.Bus.connect(path)))
        thread.start()
        a = listener.accept({patience})
        thread.join()
    b = ends.pop()
    thread = threading.Thread(target=lambda: a.send(a.recv().data + b" back"))
    thread.start()
    b.send(b"there and")
    print(b.recv({patience}).data)
    thread.join()
    try:
        b.recv(timeout=0.05)
    except TimeoutError:
        print("nothing")
    a.send(b"leased")
    lease = b.recv_zero_copy()
    a.close()
    try:
        del b
        print(bytes(lease.data), flush=True)
    finally:
        del lease
"""

RUN = """
    import sys
    code = sys.argv[1]
    if sys.version_info >= (3, 13):
        import _interpreters
        error = _interpreters.exec(_interpreters.create(), code)
        sys.exit(error and error.formatted)
    import _xxsubinterpreters
    _xxsubinterpreters.run_string(_xxsubinterpreters.create(isolated=False), code)
"""


def test_a_subinterpreter_sends_waits_and_leases(path: Path) -> None:
    code = textwrap.dedent(CODE).format(
        package=str(PACKAGE_FOLDER), path=str(path), patience=PATIENCE
    )
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(RUN), code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(PACKAGE_FOLDER)},
        timeout=9 * PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "b'there and back'\nnothing\nb'leased'\n"
