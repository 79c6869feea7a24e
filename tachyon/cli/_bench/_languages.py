"""What is measured of each language, beside C in the same rounds; bindings/bench/README.md."""

from __future__ import annotations

from typing import Any

from tachyon.cli._bench._cases import MESSAGES, NS, Cases, Measurement, Ratio

NAME = "languages"
BASE = "c"
TITLES = {
    "c": "C",
    "cpp": "C++",
    "rust": "Rust",
    "go": "Go",
    "java": "Java",
    "kotlin": "Kotlin",
    "csharp": "C#",
    "dotnet": "C# on .NET",
    "node": "Node.js",
    "python": "Python",
}
# What each work is called, its unit, and the roles of the processes, the listener's first.
WORKS = {
    "rtt": ("round trip, 32 B, by language", NS, ("echo", "ping")),
    "stream": ("stream, 32 B, one by one, by language", MESSAGES, ("consume", "produce")),
    "records": (
        "stream, 32 B, as records, by language",
        MESSAGES,
        ("records-consume", "records-produce"),
    ),
    "calls": ("send and receive, 32 B, in one process, by language", NS, ("calls",)),
}
# By the cheapest way that the language has to call the same functions of C.
MOST_OF_RAW = {
    "cpp": 1.1,
    "rust": 1.1,
    "java": 1.5,
    "kotlin": 1.5,
    "csharp": 2.0,
    "dotnet": 2.0,
    "python": 2.0,
}
# A call is dear here, whoever makes it: records must make up for it.
LEAST_RECORDS = {"go": 10e6, "node": 10e6}


def title(language: str) -> str:
    """Return what people call it."""
    return TITLES.get(language, language)


def key(work: str, language: str) -> str:
    """Return the key of a measurement."""
    return f"{NAME}/{work}/{language}"


def languages_of(result: dict[str, Any]) -> list[str]:
    """Return the languages that a run has measured."""
    start = key("calls", "")
    return [name.removeprefix(start) for name in result["measurements"] if name.startswith(start)]


def in_order(languages: list[str]) -> list[str]:
    """Return them as they are shown, C first: all are compared to it."""
    known = [language for language in TITLES if language in {*languages, BASE}]
    return known + [language for language in languages if language not in TITLES]


def cases(languages: list[str]) -> Cases:
    """Return the measurements of these languages, and their ratios to C."""
    found = Cases()
    for work, (case, unit, _) in WORKS.items():
        for language in languages:
            found.measurements.append(
                Measurement(
                    key(work, language),
                    NAME,
                    case,
                    title(language),
                    "tachyon",
                    unit,
                    program=(language, work),
                )
            )
            if language != BASE:
                found.ratios.append(_to_c(work, case, unit, language))
    return found


def _to_c(work: str, case: str, unit: str, language: str) -> Ratio:
    return Ratio(
        f"{key(work, language)}:{BASE}",
        f"{case}: {title(language)} / {title(BASE)}",
        (key(work, language),),
        (key(work, BASE),),
        better="lower" if unit == NS else "higher",
    )
