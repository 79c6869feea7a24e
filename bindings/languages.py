"""The languages, and how to build the programs that each has: "peer" is one side of the matrix
(bindings/run-matrix), "bench" is measured (`tachyon bench languages`; bindings/bench/README.md).

Needs meson, ninja and pkg-config on the path, and the toolchains of bindings/install-toolchains:
a missing one is a BuildError.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
FOLDERS = {"peer": "matrix", "bench": "bench"}  # where C, C++, Python and Rust keep them
WARNINGS = ("-O2", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")


class BuildError(Exception):
    """A tool is missing, or it failed: what it printed."""


def output(*command: str | Path, cwd: Path = ROOT) -> str:
    try:
        done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except FileNotFoundError:
        raise BuildError(
            f"there is no {command[0]} on the path: pip has meson and ninja,"
            " bindings/install-toolchains installs the others"
        ) from None
    if done.returncode:
        raise BuildError(f"{' '.join(map(str, command))}:\n{done.stdout.decode()}")
    return done.stdout.decode().strip()


def run(*command: str | Path, cwd: Path = ROOT) -> None:
    output(*command, cwd=cwd)


class Builder:
    """Builds the library into a folder, then programs; each method gives what starts one."""

    def __init__(self, work: Path) -> None:
        self.work = work
        prefix = work / "prefix"
        options = ("--libdir", "lib", "-Dtests=false", "-Dbench=false", "-Dman=false")
        run("meson", "setup", work / "library", ROOT, "--prefix", prefix, *options)
        run("meson", "install", "-C", work / "library")
        self.include, self.lib = prefix / "include", prefix / "lib"
        os.environ["TACHYON_LIBRARY"] = str(self.lib / "libtachyon.so.1")
        os.environ["LD_LIBRARY_PATH"] = str(self.lib)
        os.environ["PKG_CONFIG_PATH"] = str(self.lib / "pkgconfig")
        # Go's build cache does not look at what pkg-config says, but at this.
        os.environ["CGO_LDFLAGS"] = f"-L{self.lib}"

    def _compile(self, compiler: str, program: str, suffix: str, standard: str) -> list[str]:
        target = self.work / f"{program}-{suffix}"
        source = HERE / FOLDERS[program] / f"{program}.{suffix}"
        flags = (f"-std={standard}", *WARNINGS, f"-I{self.include}", f"-L{self.lib}")
        run(compiler, *flags, source, "-ltachyon", "-o", target)
        return [str(target)]

    def c(self, program: str) -> list[str]:
        return self._compile("cc", program, "c", "c11")

    def cpp(self, program: str) -> list[str]:
        return self._compile("c++", program, "cpp", "c++17")

    def python(self, program: str) -> list[str]:
        return [sys.executable, str(HERE / FOLDERS[program] / f"{program}.py")]

    def rust(self, program: str) -> list[str]:
        target = self.work / "rust"
        package = {"peer": "matrix-peer", "bench": "bench"}[program]
        flags = ("--manifest-path", HERE / "rust/Cargo.toml", "--target-dir", target)
        run("cargo", "build", "--quiet", "--release", *flags, "--package", package)
        return [str(target / "release" / package)]

    def go(self, program: str) -> list[str]:
        target = self.work / f"{program}-go"
        package = {"peer": "./internal/matrixpeer", "bench": "./internal/bench"}[program]
        run("go", "build", "-o", target, package, cwd=HERE / "go")
        return [str(target)]

    def java(self, program: str) -> list[str]:
        target = self.work / f"{program}-java"
        name = {"peer": "MatrixPeer", "bench": "Bench"}[program]
        package = sorted((HERE / "java/src/main/java").rglob("*.java"))
        jdk = Path(output(HERE / "java/find-jdk"))
        flags = ("--release", "22", "-Xlint:all,-restricted", "-Werror")
        run(jdk / "bin/javac", *flags, "-d", target, *package, HERE / f"java/programs/{name}.java")
        start = (jdk / "bin/java", "--enable-native-access=ALL-UNNAMED", "-cp", target, name)
        return [str(word) for word in start]

    def kotlin(self, program: str) -> list[str]:
        target = self.work / f"{program}-kotlin"
        name = {"peer": "MatrixPeer", "bench": "Bench"}[program]
        run(HERE / "kotlin/compile", target, HERE / f"kotlin/programs/{name}.kt")
        return [str(target / "java"), f"{name}Kt"]

    def csharp(self, program: str) -> list[str]:
        target = self.work / "csharp"
        run(HERE / "csharp/make-mono", target)
        return ["mono", str(target / {"peer": "MatrixPeer.exe", "bench": "BenchPeer.exe"}[program])]

    def dotnet(self, program: str) -> list[str]:
        """The C# of .NET; csharp() is Mono's."""
        target = self.work / "dotnet"
        run(HERE / "csharp/make-dotnet", target)
        name = {"peer": "MatrixPeer.dll", "bench": "BenchPeer.dll"}[program]
        return [str(target / "dotnet"), str(target / name)]

    def node(self, program: str) -> list[str]:
        package = HERE / "node"
        run("npm", "ci", "--silent", "--no-audit", "--no-fund", cwd=package)
        return ["node", str(package / f"programs/{program}.js")]


LANGUAGES: dict[str, Callable[[Builder, str], list[str]]] = {
    "c": Builder.c,
    "python": Builder.python,
    "cpp": Builder.cpp,
    "rust": Builder.rust,
    "go": Builder.go,
    "java": Builder.java,
    "kotlin": Builder.kotlin,
    "csharp": Builder.csharp,
    "dotnet": Builder.dotnet,
    "node": Builder.node,
}


def build(
    work: Path,
    languages: list[str],
    program: str,
    tell: Callable[[str], None] = lambda language: None,
) -> dict[str, list[str]]:
    """Build a program of each of the languages; tell(language) is called before each."""
    unknown = [language for language in languages if language not in LANGUAGES]
    if unknown:
        raise BuildError(f"{unknown[0]!r} is not one of {', '.join(LANGUAGES)}")
    builder = Builder(work)
    programs = {}
    for language in languages:
        tell(language)
        try:
            programs[language] = LANGUAGES[language](builder, program)
        except BuildError as error:
            raise BuildError(f"{language}: {error}") from None
    return programs
