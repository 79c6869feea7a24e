"""Build hook: compiles the C parts with meson and puts them into the wheel.

TACHYON_NO_BUNDLE=1 leaves them out: a pure wheel for distributions, which ship the library
as a package of its own. TACHYON_CROSS_FILE, a cross file of meson's, and TACHYON_PLATFORM, the
wheel's platform tag, make a wheel for another machine; packaging/build-wheels sets both.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class TachyonBuildHook(BuildHookInterface[Any]):
    """Compiles into a folder of its own, so that nothing stale can get into a wheel."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if os.environ.get("TACHYON_NO_BUNDLE") == "1":
            return
        self._build_folder = Path(tempfile.mkdtemp(prefix="tachyon-build-"))
        platform = os.environ.get("TACHYON_PLATFORM") or sysconfig.get_platform()
        platform = platform.replace("-", "_").replace(".", "_")
        _compile(Path(self.root), self._build_folder)
        # Found anywhere in meson's build folder; one folder in the wheel.
        mac = platform.startswith("macosx")
        for name in ["libtachyon.1.dylib"] if mac else ["libtachyon.so.1", "tachyon-bench"]:
            built = _find(self._build_folder, name)
            place = f"tachyon/_lib/{name}"
            if version == "editable":
                # An editable wheel only points at the tree: the files must be there.
                _copy(built, Path(self.root) / place)
            else:
                build_data["force_include"][str(built)] = place
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        folder = getattr(self, "_build_folder", None)
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def _compile(source: Path, build: Path) -> None:
    meson = [sys.executable, "-m", "mesonbuild.mesonmain"]
    # meson looks for ninja on the PATH, where an environment that is not activated is not.
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
    environment = {**os.environ, "PATH": path}
    options = ["--buildtype=release", "-Dtests=false", "-Dman=false"]
    if cross_file := os.environ.get("TACHYON_CROSS_FILE"):
        options.append(f"--cross-file={cross_file}")
    setup = [*meson, "setup", *options, str(build), str(source)]
    for command in (setup, [*meson, "compile", "-C", str(build)]):
        if subprocess.run(command, env=environment, check=False).returncode:
            shutil.rmtree(build, ignore_errors=True)
            raise SystemExit(
                "tachyon: compiling libtachyon failed, see above. It needs a C compiler "
                "(Debian, Ubuntu: apt install gcc libc6-dev; Fedora: dnf install gcc). "
                "TACHYON_NO_BUNDLE=1 installs the Python part alone."
            )


def _find(build: Path, name: str) -> Path:
    found = sorted(build.rglob(name))
    if not found:
        raise SystemExit(f"tachyon: meson has built no {name}")
    return found[0].resolve()


def _copy(built: Path, place: Path) -> None:
    place.parent.mkdir(exist_ok=True)
    # A new file in the old one's place: a process that has the old one mapped keeps it.
    temporary = place.with_suffix(".new")
    shutil.copy2(built, temporary)
    os.replace(temporary, place)
