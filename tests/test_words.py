"""One name per thing: words of a private language stay out of code, messages and documents."""

import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
THINGS = (
    "row|voxel|vertex|target|feature|trial|image|test image|stimulus|caption|condition|metric|"
    "sample|session|subject|region|layer|step|minute|stage|command|channel|person|column|"
    "1,000"
)
FORBIDDEN = re.compile(
    r"\b(pictur|mend(s|ed|ing)?\b|seal(s|ed|ing)?\b|doubt"  # image, fix, checksum, control
    rf"|(rows?|records?|values?|numbers?|bits|MB|once|one|several|sessions?|trials?)"
    rf" an? ({THINGS})\b(?!')"
    r"|(null|mean|noise|shuffled) brain|brains? that knows?|knows? nothing"  # control responses
    r"|(hold(s|ing)?|held) (it|its|them|that|this|against)\b.{0,40}\bagainst\b|held against"
    r"|run again to go on|goes? on where|turn(s|ed)? the knobs?"  # compare with, rerun to resume
    r"|lies? (in|beside|below|there)\b)",  # is in
    re.IGNORECASE,
)
# Not as names: say which report, metadata, result, label or cached value it is.
FORBIDDEN_NAMES = {
    "told", "said", "wanted", "kept", "known", "found_before", "lies", "outline", "doubts",
    "wording", "seal", "mended", "picture", "pictures",
}  # fmt: skip
# What names files of other people, seeds the random numbers of runs that exist, or is geometry.
ALLOWED = re.compile(
    r'iter_pictures|"a picture of |"pictures"|pictures/|seed_for\([^)]*"picture"'
    r'|rng_for\([^)]*"pictures"'
    r'|rng_for\([^)]*"(noise|shuffled) brain"|responses lie on|lies (in \[0, 1\]|between)'
)
OUTPUT = re.compile(r"<!-- begin (\S+) -->.*?<!-- end \1 -->", re.DOTALL)  # printed by a benchmark
CODE = sorted(
    path
    for folder in ("src", "tools", "benchmarks", "docs", "examples")
    for path in (ROOT / folder).rglob("*.py")
)
TEXT = [
    *CODE,
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "tools").rglob("*.md")),
    *sorted((ROOT / "src").rglob("*.j2")),
    *sorted((ROOT / "configs").glob("*.toml")),
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
]


def forbidden_words(text: str) -> list[str]:
    """Return each line that holds a forbidden word."""
    lines = OUTPUT.sub("", text).splitlines()
    return [line.strip() for line in lines if FORBIDDEN.search(ALLOWED.sub("", line))]


def forbidden_names(source: str) -> set[str]:
    """Return the forbidden names that a module defines or uses."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    names = {token.string for token in tokens if token.type == tokenize.NAME}
    return {name for name in names if FORBIDDEN_NAMES & {name.lower().strip("_")}}


def test_words_are_plain():
    lines = {str(path.relative_to(ROOT)): forbidden_words(path.read_text()) for path in TEXT}
    assert {path: found for path, found in lines.items() if found} == {}


def test_names_are_plain():
    names = {str(path.relative_to(ROOT)): forbidden_names(path.read_text()) for path in CODE}
    assert {path: found for path, found in names.items() if found} == {}


@pytest.mark.parametrize(
    "line",
    [
        "a Picture", "the mended file", "its seal", "no doubt", "one row a voxel",
        "once a session", "a noise brain", "brains that know nothing",
        "holds its images against those", "held against", "Run again to go on.",
        "it goes on where it was", "the file lies in the run folder",
    ],
)  # fmt: skip
def test_the_lint_finds_what_it_is_for(line):
    assert forbidden_words(f"an image\n{line}\nrecommended") == [line]


@pytest.mark.parametrize(
    "line",
    ['seed_for(seed, "picture", 1)', 'rng_for(seed, "noise brain", name)', "numbers a subject's"],
)
def test_the_lint_leaves_what_must_stay(line):
    assert forbidden_words(line) == []


def test_what_a_benchmark_printed_is_left_alone():
    assert forbidden_words("<!-- begin demo -->\nno doubt\n<!-- end demo -->\na doubt") == [
        "a doubt"
    ]


def test_the_lint_finds_names():
    assert forbidden_names("_told = wanted = 1\ntold_apart = 2") == {"_told", "wanted"}
