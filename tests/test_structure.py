"""How the code is divided: no long file, no long function, one file per stage."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
MAX_FILE, MAX_FUNCTION = 450, 60
FILES = sorted(
    path
    for folder in ("src", "tools", "benchmarks", "tests", "docs", "examples")
    for path in (ROOT / folder).rglob("*.py")
)


def long_functions(source: str) -> list[tuple[str, int]]:
    """Return the functions of more lines than are allowed, their docstrings not counted."""
    functions = (
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    lengths = (
        (
            f.name,
            f.end_lineno - f.lineno + 1 - len((ast.get_docstring(f, False) or "").splitlines()),
        )
        for f in functions
    )
    return [(name, length) for name, length in lengths if length > MAX_FUNCTION]


def test_no_file_is_long():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in FILES}
    assert {name: n for name, n in lengths.items() if n > MAX_FILE} == {}


def test_no_function_is_long():
    found = {str(path.relative_to(ROOT)): long_functions(path.read_text()) for path in FILES}
    assert {name: functions for name, functions in found.items() if functions} == {}


def test_a_long_function_is_found():
    body = "\n".join(["    x = 1"] * 60)
    assert long_functions(f"def f():\n{body}\n") == [("f", 61)]
    assert long_functions('def f():\n    """One\n\n    two."""\n' + body[:-10] + "\n") == []


def test_every_stage_file_ties_what_it_declares_to_a_stage():
    for analysis in ("reconstruct", "encode", "transfer"):
        folder = ROOT / "src" / "vox2pix" / "pipeline" / analysis
        stages = sorted(folder.glob("_[0-9]_*.py"))
        assert [int(path.stem[1]) for path in stages] == list(range(1, len(stages) + 1))
        for path in stages:
            text = path.read_text()
            assert text.startswith(f'"""Stage {path.stem[1]} of '), path
            assert " = Stage(" in text or "report_stage(" in text, path
