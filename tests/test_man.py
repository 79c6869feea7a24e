"""The man pages say what the header and the command line say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAKE = ROOT / "docs/man/make"
SYMBOLS = re.findall(
    r"^ +(tachyon_\w+);", (ROOT / "libtachyon/libtachyon.sym").read_text(), re.MULTILINE
)
HEADER = (ROOT / "include/tachyon.h").read_text()


def make(*arguments: str) -> str:
    command = [sys.executable, MAKE, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def plain(page: str) -> str:
    """The page's words: without macros' lines and font changes."""
    lines = [line for line in page.splitlines() if not line.startswith(".")]
    text = re.sub(r"\\f[BIP]|\\&", "", " ".join(lines))
    return " ".join(text.replace(r"\-", "-").replace(r"\e", "\\").split())


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("man")
    make(str(folder))
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_every_function_has_a_page(pages: dict[str, str]) -> None:
    assert set(pages) == {"tachyon.7", *(f"{name}.3" for name in SYMBOLS)}
    assert set(make("--names").split()) == set(pages)
    assert all(f".It Xr {name} 3\n" in pages["tachyon.7"] for name in SYMBOLS)


@pytest.mark.parametrize("name", SYMBOLS)
def test_page_has_all_that_the_header_says(name: str, pages: dict[str, str]) -> None:
    """Word by word: the comment, and each parameter of the declaration."""
    match = re.search(rf"/\*\*\n \* {name}\(\) - ((?:(?!\*/).)*)\*/\n(.*?);", HEADER, re.DOTALL)
    assert match
    comment, declaration = match.groups()
    page = pages[f"{name}.3"]
    said = plain(page)
    short, *lines = re.sub(r"^ \* ?", "", comment, flags=re.MULTILINE).splitlines()
    assert f".Nd {short}\n" in page
    text = "\n".join(lines)
    for argument in re.findall(r"^@(\w+): ", text, re.MULTILINE):
        assert f".It Fa {argument}\n" in page
    text = re.sub(r"^Return: |^(?:@\w+(?:, )?)+: ", "\n\n", text, flags=re.MULTILINE)
    for paragraph in re.split(r"\n\s*\n", text):
        assert " ".join(paragraph.replace("@", "").split()) in said
    parameters = declaration.partition("(")[2].rpartition(")")[0]
    for parameter in parameters.split(","):
        assert f'.Fa "{" ".join(parameter.split())}"' in page


def test_overview_has_every_type(pages: dict[str, str]) -> None:
    types = re.findall(r"^(?:typedef struct|enum) (\w+) {", HEADER, re.MULTILINE)
    assert len(types) > 9
    for name in types:
        assert re.search(rf"^(typedef struct|enum) {name} {{", pages["tachyon.7"], re.MULTILINE)


def test_page_of_the_command_is_what_its_parsers_say() -> None:
    assert (ROOT / "docs/man/tachyon.1").read_text() == make("--command"), (
        "docs/man/make --command >docs/man/tachyon.1"
    )


def test_page_of_the_command_tells_no_option_that_help_hides() -> None:
    page = make("--command")
    assert "tiny" not in page
    assert "SUPPRESS" not in page
