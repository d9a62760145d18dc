"""What is sent to others names no folder of this machine, and nothing holds a password."""

import getpass
import json
import platform
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from PIL import Image
from pydantic import ValidationError
from typer.testing import CliRunner

from pipeline.conftest import PRIVATE
from vox2pix.buckets import as_path
from vox2pix.cli import app
from vox2pix.config import Config, load_config
from vox2pix.errors import UserError
from vox2pix.places import distinct_names
from vox2pix.report import write_report

# These hold places, for whoever resumes or repeats the work; docs/report.md lists them.
FOR_ONESELF = {"config.toml", "provenance.json"}
SECRET = "Zq8nTWfP3xLr5vKd"


def naming(folder: Path, words: tuple[str, ...]) -> list[str]:
    """List the files below a folder that hold any of some words, or have them in their names."""
    found = []
    for path in sorted(folder.rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        if any(word.encode() in content or word in path.name for word in words):
            found.append(path.relative_to(folder).as_posix())
    return found


def own_names() -> tuple[str, ...]:
    """Return what tells of this machine: folders, home, host, and the user in a path."""
    names = [PRIVATE, f"{Path.home()}/", str(Path.cwd()), platform.node(), f"/{getpass.getuser()}/"]
    return tuple(name for name in names if len(name) > 4)


def test_a_run_names_no_folder_of_this_machine_but_where_it_must(project):
    found = naming(project / "runs" / "small", own_names())
    assert "config.toml" in found
    assert {Path(name).name for name in found} <= FOR_ONESELF


def test_pages_that_compare_runs_name_none_either(project, tmp_path):
    other = tmp_path / PRIVATE / "small"
    shutil.copytree(project / "runs" / "small", other)
    page = write_report([project / "runs" / "small", other], tmp_path / "pages" / "both.html")
    assert page.exists()
    assert naming(page.parent, own_names()) == []


@pytest.fixture
def labs(tmp_path) -> Path:
    """Images that were seen, and those of two labs."""
    rng = np.random.default_rng(0)
    root = tmp_path / PRIVATE
    for folder in ("seen", "labA/recons", "labB/recons"):
        (root / folder).mkdir(parents=True)
        for name in ("a", "b", "c", "d", "e", "f"):
            pixels = rng.integers(0, 255, (64, 64, 3), np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{name}.png")
    return root


def test_tables_of_an_evaluation_and_of_a_comparison_name_none(project, labs, tmp_path):
    made = []
    for lab in ("labA", "labB"):
        out = tmp_path / "out" / lab / "recons-evaluation"
        command = [
            "evaluate", "--truth", str(labs / "seen"), "--out", str(out),
            "--reconstructions", str(labs / lab / "recons"), "--network", str(project / "clip"),
            "--weights", str(labs),
        ]  # fmt: skip
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
        made.append(str(out))
    records = json.loads((Path(made[0]) / "metrics.json").read_text())
    assert "clip" in {record["metric"] for record in records}
    out = tmp_path / "out" / "comparison"
    done = CliRunner().invoke(app, ["compare", *made, "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "labA/recons-evaluation" in (out / "comparison.csv").read_text()
    found = naming(tmp_path / "out", own_names())
    assert {Path(name).name for name in found} <= FOR_ONESELF


def test_names_are_as_short_as_tells_them_apart():
    assert distinct_names([Path("/x/p/a/r"), Path("/x/q/a/r")]) == ["p/a/r", "q/a/r"]
    assert distinct_names([Path("/x/a"), Path("/x/b")]) == ["a", "b"]
    assert distinct_names([Path("/x/a"), Path("/x/a")]) == ["1: a", "2: a"]


# --- passwords and keys --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        ("data", "path", f"s3://KEY:{SECRET}@bucket/nsd"),
        ("data", "path", f"https://host/nsd?X-Amz-Signature={SECRET}"),
        ("model", "name", f"https://user:{SECRET}@huggingface.co/a/b"),
        ("evaluate", "encoder", f"https://host/clip?token={SECRET}"),
        ("compute", "slurm", {"prologue": [f"export HF_TOKEN={SECRET}"]}),
    ],
)
def test_an_experiment_with_a_secret_is_refused_before_anything_is_saved(
    tmp_path, table, key, value
):
    raw = {"name": "x", "data": {"source": "nsd", "path": "d"}}
    raw[table] = {**raw.get(table, {}), key: value}
    file = tmp_path / "x.toml"
    file.write_text(tomli_w.dumps(raw))
    for command in (["run"], ["plan"], ["encode"]):
        done = CliRunner().invoke(app, [*command, str(file), "--out", str(tmp_path / "run")])
        assert done.exit_code == 2
        assert f"'{table}.{key}" in done.output
        assert "holds a password or key" in done.output
        assert SECRET not in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["x.toml"]
    with pytest.raises(ValidationError) as refused:
        Config.model_validate(raw)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "command",
    [["data", "check"], ["report"], ["audit"], ["run", "{}", "--out"], ["compare"], ["explore"]],
)
def test_a_command_repeats_no_secret(project, command):
    given = [part.replace("{}", str(project / "experiment.toml")) for part in command]
    done = CliRunner().invoke(app, [*given, f"s3://KEY:{SECRET}@bucket/x"])
    assert done.exit_code == 2
    assert SECRET not in done.output


def test_a_url_with_a_password_is_not_opened():
    with pytest.raises(UserError, match=r"s3://\*\*\*@bucket/x carries a password or key"):
        as_path(f"s3://KEY:{SECRET}@bucket/x")


def test_a_moved_table_that_is_no_table_of_paths_is_refused(tmp_path):
    file = tmp_path / "x.toml"
    for moved in ("'a'", "[1]", "{'data.path' = 3}"):
        file.write_text(f"name = 'x'\nmoved = {moved}\n[data]\nsource = 'phantom'\n")
        with pytest.raises(UserError, match="there is no setting 'moved'"):
            load_config(file)


def test_the_resolved_experiment_names_folders_from_here_too(project):
    resolved = tomllib.loads((project / "runs" / "small" / "config.toml").read_text())
    assert resolved["moved"] == {
        "data.path": "../../data",
        "model.name": "../../model",
        "evaluate.encoder": "../../clip",
    }
