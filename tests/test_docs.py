"""README.md and docs/: every snippet runs, every table agrees with the code, every link leads
somewhere.

A fenced block's first word is its language; what follows says what becomes of it:

    python, c, ...      is the program that its first line names, to the letter
    sh                  runs before the terminals of its section, one after the other
    sh terminal N       runs beside the other terminals of its section
    sh install          is a line of .ci/run, which runs it on a fresh clone
    text output N       is what terminal N of the section prints
    text                is not run
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pytest

import tachyon
from tachyon._errors import error_from_errno

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [
    ROOT / "README.md",
    *(ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted(ROOT.glob("docs/*.md")),
    ROOT / "bindings/README.md",
    *ROOT.glob("bindings/*/README.md"),
]
HEADER = (ROOT / "include/tachyon.h").read_text()
# Where the shared structs and their constants are.
LAYOUT = "".join((ROOT / "libtachyon" / name).read_text() for name in ("layout.h", "array.c"))
CODE = ("python", "c", "cpp", "rust", "go", "java", "kotlin", "csharp", "js")
KINDS = {*CODE, "sh", "sh terminal", "sh install", "text", "text output"}
PATIENCE = 120


class Block(NamedTuple):
    """A fenced block."""

    place: str  # document:line, for people
    section: str  # the headings above it
    kind: str  # one of KINDS
    number: int  # of the terminal
    text: str


def parse(document: Path) -> Iterator[Block]:
    """Yield the document's fenced blocks."""
    headings: list[str] = []
    opened, info = 0, ""
    lines: list[str] = []
    for number, line in enumerate(document.read_text().splitlines(), 1):
        if line.startswith("```") and not opened:
            opened, info, lines = number, line[3:], []
        elif line == "```":
            words = info.split()
            terminal = int(words.pop()) if words and words[-1].isdigit() else 0
            section = " > ".join([str(document.relative_to(ROOT)), *headings])
            text = "".join(f"{line}\n" for line in lines)
            yield Block(f"{document.name}:{opened}", section, " ".join(words), terminal, text)
            opened = 0
        elif opened:
            lines.append(line)
        elif heading := re.match(r"(##+) (.+)", line):
            headings = [*headings[: len(heading[1]) - 2], heading[2]]
    assert not opened, f"{document.name}:{opened}: this block has no end"


BLOCKS = [block for document in DOCUMENTS for block in parse(document)]
PROGRAMS = [block for block in BLOCKS if block.kind in CODE]


def marks(section: str) -> list[pytest.MarkDecorator]:
    """What runs it: .ci/run has PyTorch for -m ml, and the languages' tools for -m bindings."""
    if any("import torch" in b.text for b in PROGRAMS if b.section == section):
        return [pytest.mark.ml]
    return [pytest.mark.bindings] if "bindings/" in section else []


SECTIONS = [
    pytest.param(section, marks=marks(section))
    for section in dict.fromkeys(b.section for b in BLOCKS if b.kind in ("sh", "sh terminal"))
]


def tables(document: Path, *header: str) -> Iterator[list[str]]:
    """Yield the rows of the tables that begin with these columns: as lists of cells."""
    inside = False
    for line in document.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line[:1] == "|" else []
        if cells[: len(header)] == list(header):
            inside = True
        elif not cells:
            inside = False
        elif inside and not set(line) <= set("|-"):
            yield cells


def prose(document: Path) -> str:
    """The document without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)


def code_words(cell: str) -> list[str]:
    """Return what stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


# ---- snippets -----------------------------------------------------------------------------


def test_every_block_says_what_becomes_of_it() -> None:
    unknown = [f"{block.place}: {block.kind!r}" for block in BLOCKS if block.kind not in KINDS]
    assert unknown == []


@pytest.mark.parametrize("block", PROGRAMS, ids=lambda block: block.place)
def test_program_is_the_one_in_examples_and_is_run(block: Block) -> None:
    name = block.text.split("\n")[0].strip("#/* ")
    assert (ROOT / name).read_text() == block.text
    commands = [b.text for b in BLOCKS if b.section == block.section and b.kind.startswith("sh")]
    run = {  # what the compilers of these make of the name
        "rust": f"examples/{Path(name).stem}",
        "go": f"build/{Path(name).parent.name}",
        "csharp": f"build/csharp/{Path(name).stem}.exe",
        "kotlin": f"build/kotlin/java {Path(name).stem}Kt",
    }.get(block.kind, name)
    assert any(run in command for command in commands)


def test_every_example_is_shown() -> None:
    shown = {block.text.split("\n")[0].strip("#/* ") for block in PROGRAMS}
    files = [*(ROOT / "examples").iterdir(), *ROOT.glob("bindings/**/examples/**/*")]
    files = [f for f in files if "target" not in f.parts]  # cargo's
    assert {str(f.relative_to(ROOT)) for f in files if f.is_file()} == shown


def test_install_commands_are_what_ci_runs_on_a_fresh_clone() -> None:
    ci = (ROOT / ".ci/run").read_text()
    commands = [block.text.strip() for block in BLOCKS if block.kind == "sh install"]
    assert len(commands) == 2
    for command in commands:
        assert re.search(rf"^\s*{re.escape(command)}$", ci, re.MULTILINE), command


@pytest.fixture(scope="module")
def clone() -> Iterator[Path]:
    """A copy of this repository as a newcomer has it after the install command.

    Its .venv is this interpreter. Paths of buses are inside the copy, so that two runs of the
    tests do not meet.
    """
    folder = Path(tempfile.mkdtemp(prefix="tachyon-"))
    clone = folder / "clone"
    built = ("build", "build-*", "target", "dist", "__pycache__", "*.egg-info", "_lib")
    ignored = shutil.ignore_patterns(".*", *built)
    shutil.copytree(ROOT, clone, ignore=ignored)
    examples = [*clone.glob("examples/*"), *clone.glob("bindings/**/examples/**/*")]
    for example in filter(Path.is_file, examples):
        example.write_text(example.read_text().replace("/tmp/", f"{folder}/"))
    make_environment(clone / ".venv/bin")
    yield clone
    shutil.rmtree(folder)


def make_environment(bin_folder: Path) -> None:
    bin_folder.mkdir(parents=True)
    python = shlex.quote(sys.executable)
    # As pip writes it: with its own folder, not the current one, at the head of sys.path.
    main = bin_folder / "main.py"
    main.write_text("import sys\n\nfrom tachyon.cli import main\n\nsys.exit(main())\n")
    commands = {"python": "", "pip": "-m pip", "tachyon": shlex.quote(str(main))}
    for name, arguments in commands.items():
        script = bin_folder / name
        script.write_text(f'#!/bin/sh\nexec {python} {arguments} "$@"\n')
        script.chmod(0o755)
    for name in "meson", "ninja":
        tool = Path(sysconfig.get_path("scripts")) / name
        assert tool.exists(), f"{tool}: missing; pip install '.[test]'"
        (bin_folder / name).symlink_to(tool)


def newcomers_environment(clone: Path) -> dict[str, str]:
    package = Path(tachyon.__file__).parent.parent
    # What has nothing to do with tachyon: Go would compile its standard library once more.
    tools = {"CARGO_HOME": ".cargo", "RUSTUP_HOME": ".rustup", "GOCACHE": ".cache/go-build"}
    return {
        **{name: str(Path.home() / folder) for name, folder in tools.items()},
        **os.environ,
        "HOME": str(clone.parent),
        "PYTHONPATH": str(package),
        "PIP_NO_INDEX": "1",  # what the documents install is there already
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


class Running(NamedTuple):
    """What a reader has typed, in a process group of its own."""

    name: str
    process: subprocess.Popen[bytes]
    output: Path

    def told(self) -> str:
        code = self.process.returncode
        return f"--- {self.name}, ended with {code}:\n{self.output.read_text()}"


def start(name: str, script: str, clone: Path, environment: dict[str, str]) -> Running:
    output = clone.parent / name.replace(" ", "-")
    with output.open("wb") as stream:
        process = subprocess.Popen(
            ["bash", "-eu", "-o", "pipefail", "-c", script.replace("/tmp/", f"{clone.parent}/")],
            cwd=clone,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Running(name, process, output)


def finish(running: list[Running]) -> list[str]:
    """Wait for success of all, and return what each printed.

    One that fails ends the others, which may wait for it for ever; all are told of then.
    """
    end = time.monotonic() + PATIENCE
    codes: list[int | None] = [None]
    try:
        while None in codes and set(codes) <= {0, None} and time.monotonic() < end:
            time.sleep(0.01)
            codes = [one.process.poll() for one in running]
    finally:
        for one in running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(one.process.pid, signal.SIGKILL)
            one.process.wait()
    late = f", some not within {PATIENCE} s" if None in codes and set(codes) <= {0, None} else ""
    assert set(codes) == {0}, f"{codes}{late}\n" + "".join(one.told() for one in running)
    return [one.output.read_text() for one in running]


def run_setup(section: str, clone: Path) -> dict[str, str]:
    """Run the section's plain sh blocks; return the environment that they leave."""
    environment = newcomers_environment(clone)
    script = "".join(b.text for b in BLOCKS if b.section == section and b.kind == "sh")
    if script:
        variables = clone.parent / "variables"
        environment["TEST_VARIABLES"] = str(variables)
        script += 'env -0 > "$TEST_VARIABLES"\n'
        finish([start("setup", script, clone, environment)])
        pairs = variables.read_text().split("\0")
        environment = dict(pair.split("=", 1) for pair in pairs if pair)
    return environment


def run_section(section: str, clone: Path) -> dict[int, str]:
    """Run a section as its reader does. Return what each terminal printed."""
    environment = run_setup(section, clone)
    terminals: dict[int, str] = {}
    for block in BLOCKS:
        if block.section == section and block.kind == "sh terminal":
            terminals[block.number] = terminals.get(block.number, "") + block.text
    running = [
        start(f"terminal {number}", script, clone, environment)
        for number, script in terminals.items()
    ]
    return dict(zip(terminals, finish(running), strict=True))


@pytest.mark.parametrize("section", SECTIONS)
def test_section_runs_and_prints_what_it_says(section: str, clone: Path) -> None:
    printed = run_section(section, clone)
    assert printed, "a section that runs something has terminals"
    for block in BLOCKS:
        if block.section == section and block.kind == "text output":
            assert printed[block.number] == block.text, block.place
    if "sha256sum" in "".join(b.text for b in BLOCKS if b.section == section):
        assert printed[1].split()[0] == printed[2].split()[0]


@pytest.mark.parametrize(
    ("document", "run"),
    [("README.md", "docs/bench.json"), ("bindings/README.md", "docs/bench-languages.json")],
)
def test_tables_of_speed_are_those_of_the_run_that_is_kept(document: str, run: str) -> None:
    command = [sys.executable, str(ROOT / "bench/readme-tables"), str(ROOT / run)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    printed = [table for table in done.stdout.split("\n\n") if table.strip()]
    assert printed
    for table in printed:
        assert table.strip() in (ROOT / document).read_text()


# ---- tables -------------------------------------------------------------------------------


def evaluate(expressions: list[str], folder: Path) -> list[int]:
    """What C makes of them, with layout.h and what array.c keeps to itself."""
    lines = "".join(
        f'        printf("%llu\\n", (unsigned long long)({expression}));\n'
        for expression in expressions
    )
    source = folder / "evaluate.c"
    source.write_text(
        '#include <stdio.h>\n#include "layout.h"\n#include "array.c"\n'
        "int fail(int error, const char *format, ...) { (void)format; return -error; }\n"
        f"int main(void) {{\n{lines}        return 0;\n}}\n"
    )
    program = folder / "evaluate"
    compiler = os.environ.get("CC", "cc")
    options = ["-D_GNU_SOURCE", "-I", str(ROOT / "libtachyon"), "-o", str(program), str(source)]
    subprocess.run([*compiler.split(), *options], check=True)
    output = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    return [int(line) for line in output.split()]


def documented_structs() -> dict[str, list[tuple[str, int, int]]]:
    """Name: (field, offset, size) of each row of its table in protocol.md."""
    structs: dict[str, list[tuple[str, int, int]]] = {}
    text = (ROOT / "docs/protocol.md").read_text()
    for section in re.split(r"^##+ ", text, flags=re.MULTILINE):
        if name := re.match(r"`struct (\w+)`", section):
            rows = re.findall(r"^\| (\d+) \| (\d+) \| `(\w+)` \|", section, re.MULTILINE)
            structs[name[1]] = [(field, int(offset), int(size)) for offset, size, field in rows]
    return structs


def fields_in_layout(struct: str) -> list[str]:
    body = re.search(rf"^struct {struct} {{(.*?)^}};", LAYOUT, re.MULTILINE | re.DOTALL)
    assert body
    text = re.sub(r"/\*.*?\*/", "", body[1], flags=re.DOTALL)
    return [re.sub(r"\[.*", "", part).split()[-1] for part in text.split(";") if part.strip()]


STRUCTS = re.findall(r"^struct (\w+) {", LAYOUT, re.MULTILINE)


def test_protocol_describes_every_shared_struct() -> None:
    assert set(documented_structs()) == set(STRUCTS)


@pytest.mark.parametrize("struct", STRUCTS)
def test_offsets_and_sizes_in_protocol_are_those_of_the_code(struct: str, tmp_path: Path) -> None:
    rows = documented_structs()[struct]
    assert [field for field, _, _ in rows] == fields_in_layout(struct)
    expressions = []
    for field, _, _ in rows:
        expressions.append(f"offsetof(struct {struct}, {field})")
        expressions.append(f"sizeof(((struct {struct} *)0)->{field})")
    documented = [number for _, offset, size in rows for number in (offset, size)]
    assert documented == evaluate(expressions, tmp_path)


def test_constants_in_protocol_are_those_of_the_code(tmp_path: Path) -> None:
    rows = list(tables(ROOT / "docs/protocol.md", "name", "value"))
    documented = {code_words(row[0])[0]: int(row[1], 0) for row in rows}
    defined = set(re.findall(r"^#define (\w+) +\S", LAYOUT, re.MULTILINE))
    defined.update(re.findall(r"^#define (TACHYON_ARRAY_\w+) +\S", HEADER, re.MULTILINE))
    for enum in re.findall(r"^enum \w+ {(.*?)}", LAYOUT, re.MULTILINE | re.DOTALL):
        defined.update(re.findall(r"^ +(\w+) = ", enum, re.MULTILINE))
    assert set(documented) == defined
    assert list(documented.values()) == evaluate(list(documented), tmp_path)


def test_numbers_in_the_readme_are_those_of_the_code(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    assert "0 to capacity - 128 bytes" in readme
    assert evaluate(["2 * FRAME_ALIGNMENT"], tmp_path) == [128]
    assert "up to 48 bytes is one cache line" in readme
    assert evaluate(["FRAME_INLINE_SIZE"], tmp_path) == [48]


def api_column(column: int) -> list[str]:
    rows = tables(ROOT / "README.md", "to", "Python", "C")
    return [word for row in rows for word in code_words(row[column])]


def test_api_table_has_every_function_of_the_library() -> None:
    symbols = (ROOT / "libtachyon/libtachyon.sym").read_text()
    assert set(api_column(2)) == set(re.findall(r"^ +(tachyon_\w+);", symbols, re.MULTILINE))


def test_api_table_names_what_there_is_in_python() -> None:
    names = re.findall(
        r"\b(Bus|Listener|Slot|Lease|Batch|Message|tachyon)\.(\w+)", str(api_column(1))
    )
    for owner, name in names:
        assert hasattr(tachyon if owner == "tachyon" else getattr(tachyon, owner), name), name
    for kind in tachyon.Bus, tachyon.Slot, tachyon.Lease, tachyon.Message:
        public = {name for name in dir(kind) if not name.startswith("_")}
        assert public <= {name for owner, name in names if owner == kind.__name__}


def test_readme_names_every_option() -> None:
    body = re.search(r"typedef struct tachyon_options {(.*?)} tachyon_options;", HEADER, re.DOTALL)
    assert body
    text = re.sub(r"/\*.*?\*/", "", body[1], flags=re.DOTALL)
    fields = {part.split()[-1].strip("*") for part in text.split(";") if part.strip()}
    named = set(code_words(prose(ROOT / "README.md")))
    assert fields - {"struct_size", "allowed_uid_count"} <= named
    keywords = re.findall(r"^TACHYON_(\w+) =|^ +TACHYON_(\w+) = 1u <<", HEADER, re.MULTILINE)
    assert {(a or b).lower() for a, b in keywords} <= named


def number_of(name: str) -> int:
    if name.startswith("TACHYON_"):
        values = re.findall(rf"^#define {name} (\d+)", HEADER, re.MULTILINE)
        return int(values[-1])  # the last one is not macOS's
    return int(getattr(errno, name))


ERROR_ROWS = list(tables(ROOT / "README.md", "what happened", "Python", "C"))


# What the numbers of these mean depends on which function returned them.
CHOSEN_BY_THE_CALL = {"ArrayFormatError", "RecordMismatchError"}


@pytest.mark.parametrize("row", ERROR_ROWS, ids=lambda row: row[0])
def test_error_table_agrees_with_the_exceptions(row: list[str]) -> None:
    classes = [word for word in code_words(row[1]) if hasattr(tachyon, word)]
    if classes and set(classes) <= CHOSEN_BY_THE_CALL:
        assert all(f"-{name}" in HEADER for name in code_words(row[2]))
        return
    for name in code_words(row[2]):
        kind = type(error_from_errno(number_of(name), "try")).__name__
        # EINTR never becomes an exception: Python waits on.
        assert kind in classes or name == "EINTR"


def test_error_table_has_every_exception() -> None:
    words = {word for row in ERROR_ROWS for word in code_words(row[1])}
    errors = {
        name
        for name in tachyon.__all__
        if isinstance(kind := getattr(tachyon, name), type)
        and issubclass(kind, tachyon.TachyonError)
    }
    assert errors <= words


# ---- form ---------------------------------------------------------------------------------


def anchors(document: Path) -> set[str]:
    """The names that GitHub gives to the document's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_internal_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", document.read_text()):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        there = (document.parent / name).resolve() if name else document
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


def test_index_names_every_document() -> None:
    index = (ROOT / "docs/README.md").read_text()
    names = {path.name for path in ROOT.glob("docs/*.md")} - {"README.md"}
    assert names <= set(re.findall(r"\]\((\w[\w-]*\.md)\)", index))


def test_every_claim_about_deployment_is_one_that_is_tried_and_the_reverse() -> None:
    script = (ROOT / "tests/run-deployment").read_text()
    tried = re.search(r"^CLAIMS.*?\[\n(.*?)^\]", script, re.MULTILINE | re.DOTALL)
    assert tried
    said = re.findall(r"`([a-z0-9]+(?:_[a-z0-9]+){3,})`", (ROOT / "docs/deployment.md").read_text())
    assert sorted(said) == sorted(re.findall(r"\w+", tried[1]))


def test_pictures_are_well_formed() -> None:
    pictures = list((ROOT / "docs").glob("*.svg"))
    assert pictures
    for picture in pictures:
        assert ElementTree.parse(picture).getroot().tag.endswith("svg")


def test_readme_is_in_the_order_that_a_newcomer_needs() -> None:
    assert re.findall(r"^## (.+)$", prose(ROOT / "README.md"), re.MULTILINE) == [
        "Install and see it run",
        "Run the tests",
        "Quickstart",
        "When to use it, and when not",
        "How it works",
        "API",
        "Errors",
        "Limits",
        "How fast",
        "License",
    ]


def test_every_decision_says_why_what_was_measured_and_what_would_change_it() -> None:
    text = (ROOT / "docs/decisions.md").read_text()
    entries = re.split(r"^### ", text, flags=re.MULTILINE)[1:]
    assert entries
    for entry in entries:
        points = re.findall(r"^- \*\*(.+?):\*\* \S", entry, re.MULTILINE)
        assert points == ["Decision", "Why", "Measured", "Would change if"], entry.split("\n")[0]
