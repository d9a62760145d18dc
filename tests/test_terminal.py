"""Names that come from outside, in the terminal and in files."""

import ast
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text
from typer.testing import CliRunner

import vox2pix.cli
from vox2pix.cli import app
from vox2pix.cli.bars import Bars
from vox2pix.cli.terminal import Terminal, bold, shown

HOSTILE = [
    "data [v2]", "[bold]", "[/]", "[/bold]x", "[link=file:///etc/passwd]x[/link]", "[red]a[/red]",
    "a\\[b]", "back\\", ":smile:", "[[x]]", "[@click=f('x')]y[/]",
]  # fmt: skip
INVISIBLE = ["\x1b[31mred", "a\x07b", "two\nlines", "gpj\u202eexe", "zero\u200bwidth", "\x9b2J"]


def printed(what) -> str:
    file = io.StringIO()
    what(Terminal(file=file, width=400))
    return file.getvalue()


def table_of(cell: str) -> Table:
    table = Table()
    table.add_column(cell)
    table.add_row(cell, style="bold")
    return table


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize(
    "how",
    [
        lambda c, name: c.print(name),
        lambda c, name: c.print(f"{name} and more", style="dim"),
        lambda c, name: c.say("It is ", bold(name), "."),
        lambda c, name: c.say(f"It is {shown(name)}.", style="bold red"),
        lambda c, name: c.print(table_of(name)),
        lambda c, name: c.print(Text(name)),
    ],
)
def test_nothing_in_a_name_is_markup(name, how):
    assert name in printed(lambda c: how(c, name))


@pytest.mark.parametrize("name", INVISIBLE)
@pytest.mark.parametrize(
    "how",
    [
        lambda c, name: c.print(shown(name)),
        lambda c, name: c.say("It is ", bold(name)),
        lambda c, name: c.print(table_of(shown(name))),
        lambda c, name: c.print(Text(shown(name))),
    ],
)
def test_nothing_in_a_name_is_obeyed(name, how):
    text = printed(lambda c: how(c, name))
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u200b]", text)
    assert shown(name) in text
    assert shown(name) != name


def test_what_is_printed_without_care_is_not_obeyed_either():
    for what in ("\x1b]0;x\x07", Text("\x1b[2J"), table_of("\x1b[2J\u202e")):
        text = printed(lambda c, what=what: c.print(what))
        assert "\x1b" not in text
        assert "\\x1b" in text


def test_bars_show_titles_as_they_are():
    file = io.StringIO()
    with Bars(Terminal(file=file, width=200, force_terminal=True, color_system=None)) as bars:
        bars.begin("[/] \x1b]0;x\x07 [bold]", 2, "[unit]")
        bars.advance(2)
        bars.say("[/] [red]x[/red] \n\u202e")
    assert "[/] \\x1b]0;x\\x07 [bold]" in file.getvalue()
    assert "[unit]" in file.getvalue()
    assert "[/] [red]x[/red] \\n\\u202e" in file.getvalue()


# --- the code of the command line ----------------------------------------------------------------

_FILES = sorted(Path(vox2pix.cli.__file__).parent.glob("*.py"))


def unsafe(tree: ast.AST) -> list[str]:
    """List what a file prints that may hold text from outside as it came."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        if name in ("Console", "print", "rich.print", "Text.from_markup", "typer.secho"):
            found.append(ast.unparse(node))
        if any(k.arg == "markup" and ast.unparse(k.value) != "False" for k in node.keywords):
            found.append(ast.unparse(node))
        if not name.endswith(("console.say", "console.print", "to_stderr().say", ".print")):
            continue
        for given in node.args:
            for part in ast.walk(given):
                if isinstance(part, ast.FormattedValue) and not is_safe(part):
                    found.append(ast.unparse(part))
            if isinstance(given, ast.Name) and given.id not in ("table", "line"):
                found.append(given.id)
    return found


def is_safe(part: ast.FormattedValue) -> bool:
    """Tell whether a part of a text is shown with care, or a number."""
    value = ast.unparse(part.value)
    number = part.format_spec is not None and ast.unparse(part.format_spec)[2:-1] in (",", ">3")
    return value.startswith(("shown(", "len(")) or number or value == "address"


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.name)
def test_the_command_line_prints_names_by_the_one_helper(path):
    assert unsafe(ast.parse(path.read_text())) == []


@pytest.mark.parametrize(
    "line",
    [
        'console.print(f"in {folder}")', 'console.say(f"x {a.b}")', "Console()", "print(1)",
        'console.print("x", markup=True)', "self._console.print(text)", "Text.from_markup(x)",
    ],
)  # fmt: skip
def test_the_check_finds_what_is_unsafe(line):
    assert unsafe(ast.parse(line)) != []


# --- commands ------------------------------------------------------------------------------------

_COMMANDS = [
    ["run", "{}.toml"], ["run", "{}.toml", "--out", "{}"], ["plan", "{}.toml"],
    ["encode", "{}.toml"], ["init", "{}"], ["report", "{}"],
    ["report", "{}", "{} 2"], ["explore", "{}"], ["audit", "{}"], ["plot", "encoding", "{}"],
    ["data", "check", "{}"], ["data", "check", "{}", "--rois", "{}"],
    ["evaluate", "--truth", "{}", "--reconstructions", "{}"],
    ["evaluate", "--truth", ".", "--reconstructions", ".", "--protocol", "{}"],
    ["evaluate", "--truth", ".", "--reconstructions", ".", "--weights", "{}"],
    ["compare", "{}", "{} 2"], ["pool", "{}"], ["fetch", "nsd", "--what", "{}"],
    ["phantom", "out", "--images", "{}", "--captions", "{}"], ["phantom", "out", "--space", "{}"],
]  # fmt: skip


@pytest.mark.parametrize("name", ["[/] [bold]x", "\x1b[31m\u202e\n"])
@pytest.mark.parametrize("command", _COMMANDS, ids=" ".join)
def test_a_command_names_what_it_does_not_find(tmp_path, monkeypatch, command, name):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, [part.replace("{}", name) for part in command])
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 2
    output = result.output
    assert len([line for line in output.splitlines() if "vox2pix: " in line]) == 1
    assert "\x1b" not in output
    assert "\u202e" not in output


_ASCII = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0", "LANG": "C"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run", "caf\u00e9 \udce9.toml"],
        ["data", "check", "\udcff"],
        ["report", "caf\udce9"],
    ],
)
def test_streams_of_any_encoding_end_in_no_traceback(tmp_path, arguments):
    done = subprocess.run(
        [sys.executable, "-m", "vox2pix", *arguments],
        capture_output=True, cwd=tmp_path, env={**os.environ, **_ASCII}, timeout=120,
    )  # fmt: skip
    assert b"Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
    assert done.returncode == (0 if arguments == ["--help"] else 2)
