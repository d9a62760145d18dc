"""The command line: what it prints, and how it ends."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner, Result

import vox2pix
from vox2pix import cli
from vox2pix.cli import data, tables
from vox2pix.cli.bars import Bars

SMALL = ("--sessions", "1", "--trials", "30", "--early", "60", "--ventral", "60")


def vox2pix_run(*arguments: object) -> Result:
    """Run a command in this process, at the width of a plain terminal."""
    runner = CliRunner(env={"COLUMNS": "80", "TERMINAL_WIDTH": "80", "NO_COLOR": "1"})
    return runner.invoke(cli.app, [str(argument) for argument in arguments])


def sentence(result: Result) -> str:
    """Return the one sentence that a failed command leaves on stderr."""
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("vox2pix: ")
    return line.removeprefix("vox2pix: ")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set that the command wrote."""
    out = tmp_path_factory.mktemp("phantom") / "brain"
    result = vox2pix_run("phantom", out, *SMALL)
    assert result.exit_code == 0, result.output
    bars = [line for line in result.stdout.splitlines() if "━" in line]
    steps = {line.split(" ━")[0].strip(): line for line in bars}
    assert list(steps) == ["Images", "Subject 1: early responses", "Subject 1: func1pt8mm betas"]
    assert "10/10" in steps["Images"]
    assert "1/1" in steps["Subject 1: func1pt8mm betas"]
    assert result.stdout.replace("\n", "").endswith(f"A simulated data set: {out}")
    return out


@pytest.fixture
def faulty(tree: Path, tmp_path: Path) -> Path:
    """The same without some of its captions."""
    copy = Path(shutil.copytree(tree, tmp_path / "faulty"))
    (copy / "nsddata_stimuli/stimuli/nsd/annotations/captions_train2017.json").unlink()
    return copy


def commands(group: TyperGroup, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Walk over all commands and groups of commands."""
    yield path
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


@pytest.mark.parametrize("command", list(commands(get_command(cli.app))), ids=" ".join)
def test_help(command: tuple[str, ...]) -> None:
    result = vox2pix_run(*command, "--help")
    assert result.exit_code == 0
    assert f"Usage: {' '.join(('vox2pix', *command))} " in result.stdout
    assert all(len(line) <= 80 for line in result.stdout.splitlines())


def test_help_names_commands_and_options() -> None:
    for command, words in {
        (): ["run", "plan", "phantom", "data"],
        ("run",): ["--out", "experiment file"],
        ("phantom",): ["--subjects", "--images", "--captions"],
        ("data", "check"): ["--sessions", "--rois", "--json", "Exit status 2"],
    }.items():
        told = vox2pix_run(*command, "--help").stdout
        assert [word for word in words if word not in told] == []


def test_what_the_phantom_wrote_is_sound(tree: Path) -> None:
    result = vox2pix_run("data", "check", tree)
    assert result.exit_code == 0
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[0] == f"subj01: {tree}, NSD's layout, space func1pt8mm"
    assert "  1 session; 10 of 10 images can be read; 50 captions" in lines
    rows = {line.split()[0]: line.split() for line in lines if line.strip()}
    assert rows["train"] == ["train", "27", "9", "3", "times", "each"]
    assert rows["test"] == ["test", "3", "1", "3", "times", "each"]
    assert rows["early"][1:3] == rows["ventral"][1:3] == ["60", "-"]
    assert rows["all"][1] == "120"
    single, averaged = map(float, rows["all"][-2:])
    assert 0 < single < averaged < 100
    assert lines[-1] == "Sound: no fault was found."
    assert all(len(line) <= 80 for line in lines[1:])


def test_the_regions_asked_for(tree: Path) -> None:
    result = vox2pix_run("data", "check", tree, "--rois", "V1v, ventral")
    assert result.exit_code == 0
    assert "V1v" in result.stdout
    assert "early" not in result.stdout


def test_the_check_as_json(tree: Path, faulty: Path, tmp_path: Path) -> None:
    told = json.loads(vox2pix_run("data", "check", tree, "--json").stdout)
    assert told["ok"] is True
    assert told["rois"]["all"]["n_voxels"] == 120
    assert told["train"] == {"n_trials": 27, "n_stimuli": 9, "repeats": {"3": 9}}
    result = vox2pix_run("data", "check", faulty, "--json")
    assert result.exit_code == 2
    told = json.loads(result.stdout)
    assert told["ok"] is False
    assert len(told["faults"]) == int(sentence(result).split(" has ")[1].split()[0])


def test_json_has_no_nan() -> None:
    plain = data.plain({"rois": {"V1": {"single": float("nan"), "n": 3}}, "x": 0.5})
    assert plain == {"rois": {"V1": {"single": None, "n": 3}}, "x": 0.5}


def test_every_fault_is_a_numbered_line(faulty: Path) -> None:
    result = vox2pix_run("data", "check", faulty, "--sessions", 2)
    n = int(sentence(result).removeprefix(f"{faulty} has ").split()[0])
    assert n >= 2
    lines = result.stdout.splitlines()
    faults = lines[lines.index("Faults") + 1 :]
    assert [line.split(".")[0].strip() for line in faults] == [str(i + 1) for i in range(n)]
    assert any("session02.hdf5 does not exist" in line for line in faults)
    assert any("caption" in line for line in faults)
    assert "Sound" not in result.stdout


def test_a_single_fault(tree: Path) -> None:
    result = vox2pix_run("data", "check", tree, "--rois", "early,ventrl")
    assert sentence(result) == f"{tree} has 1 fault; fix it and check again."
    assert "  1. There is no ROI 'ventrl'; did you mean ventral" in result.stdout


def test_data_that_are_not_there(tmp_path: Path) -> None:
    result = vox2pix_run("data", "check", tmp_path / "nowhere")
    assert "nowhere has" in sentence(result)
    assert result.stdout.startswith(f"{tmp_path / 'nowhere'}: a folder of your own data")
    assert "trials.csv" in result.stdout


def test_how_often_stimuli_were_shown_in_words() -> None:
    assert data.repeats_in_words({}) == "-"
    assert data.repeats_in_words({1: 12}) == "once each"
    assert data.repeats_in_words({3: 900}) == "3 times each"
    assert data.repeats_in_words({3: 1850, 2: 30, 1: 5}) == "5 once, 30 twice, 1,850 3 times"
    assert data.repeats_in_words({1: 1, 2: 1, 5: 1, 9: 1}) == "1 to 9 times"


def test_a_phantom_does_not_write_over_anything(tree: Path) -> None:
    before = sorted(tree.rglob("*"))
    told = sentence(vox2pix_run("phantom", tree, *SMALL))
    assert told == f"{tree} exists: name a folder that does not, or remove it first."
    assert sorted(tree.rglob("*")) == before


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "experiment.toml"),
        ("name = [", "experiment.toml"),
        ('name = "x"\nsede = 3\n[data]\nsource = "phantom"\n', "seed"),
        ('name = "x"\n[data]\nsource = "nsd"\npath = "nowhere"\n', "nowhere"),
    ],
    ids=["no file", "no TOML", "unknown setting", "no data"],
)
def test_bad_input_is_one_sentence(
    command: str, text: str | None, words: str, tmp_path: Path
) -> None:
    config = tmp_path / "experiment.toml"
    if text is not None:
        config.write_text(text)
    assert words in sentence(vox2pix_run(command, config, "--out", tmp_path / "run"))


@pytest.mark.parametrize("command", ["run", "encode"])
def test_workers_that_cannot_be_had_are_refused_before_the_work(
    command: str, tmp_path: Path
) -> None:
    config, out = tmp_path / "experiment.toml", tmp_path / "run"
    config.write_text('name = "small"\n[data]\nsource = "phantom"\n')
    for options, words in (
        (("--workers", 2, "--slurm"), "--workers, --dask and --slurm are three places"),
        (("--dask", "nonsense://here"), "No Dask scheduler answers at 'nonsense://here'"),
    ):
        assert words in sentence(vox2pix_run(command, config, "--out", out, *options))
    assert not out.exists()


@pytest.mark.parametrize("command", ["run", "plan", "encode"])
def test_a_run_folder_in_a_bucket_is_refused(command: str, tmp_path: Path) -> None:
    config = tmp_path / "small.toml"
    config.write_text('name = "small"\ndata.source = "phantom"\n')
    result = vox2pix_run(command, config, "--out", "s3://lab/runs/small")
    assert sentence(result).startswith("A run folder, like all that is written, must be on a local")
    for reads in (["report"], ["audit"], ["plot", "encoding"], ["explore"]):
        assert "s3://lab/runs/small is a URL" in sentence(
            vox2pix_run(*reads, "s3://lab/runs/small")
        )


def test_wrong_usage() -> None:
    result = vox2pix_run("phantom")
    assert result.exit_code == 2
    assert "Missing argument" in result.stderr


def test_the_program_ends_as_its_commands_do(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from vox2pix.cli import main; main()"]
    ended = subprocess.run(
        [*command, "run", str(tmp_path / "none.toml")], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("vox2pix: ")
    assert ended.stderr.count("\n") == 1


def test_an_interrupt_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **options: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("vox2pix.phantom.simulate", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # libraries set their own
    try:
        result = vox2pix_run("phantom", tmp_path / "brain")
    finally:
        signal.signal(signal.SIGINT, before or signal.default_int_handler)
    assert result.exit_code == 130
    assert result.stderr == "\nStopped. Rerun to resume.\n"


def test_bars_follow_steps_and_the_reporter(capsys: pytest.CaptureFixture[str]) -> None:
    with Bars() as bars:
        bars.track("reading sessions", 1, 4)
        bars.track("reading sessions", 4, 4)
        bars.begin("Drawing", 3, "images")
        bars.advance(2)
        bars.track("reading sessions", 1, 2)
        bars.say("a [line]")
    drawn = capsys.readouterr().out.splitlines()
    assert "  a [line]" in drawn
    bars_drawn = [line for line in drawn if "━" in line]
    for line, words in zip(
        bars_drawn,
        (("Reading sessions", "4/4"), ("Drawing", "2/3", "images"), ("Reading sessions", "1/2")),
        strict=True,
    ):
        assert all(word in line for word in words)


def test_help_needs_no_heavy_library() -> None:
    code = (
        "import sys, vox2pix.cli;"
        "print([m for m in ('torch', 'diffusers', 'nilearn', 'h5py') if m in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
    assert vox2pix.__all__


EXPERIMENT = """
name = "small"
[data]
source = "phantom"
[data.phantom]
sessions = 2
trials_per_session = 60
n_shared = 8
n_early = 60
n_ventral = 60
[generate]
samples = 1
steps = 2
[compute]
device = "cpu"
"""


def test_a_run_ends_with_a_table_and_the_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text(EXPERIMENT)
    result = vox2pix_run("run", "small.toml")
    assert result.exit_code == 0, result.output
    assert "small: small.toml into runs/small" in result.output
    lines = result.stdout.splitlines()  # libraries imported before may warn on stderr
    assert all(len(line) <= 80 for line in lines)
    names = ("z-decode", "z", "c", "z+c", "true-z", "true-c", "true-z+c", "shuffled")
    names += ("mean-response", "noise-response", "retrieval")
    rows = [line for line in lines if line.split(" ")[0].strip() in names and "[" in line]
    assert len(rows) == 11
    assert all(row.count("[") == 4 and "…" not in row for row in rows)
    assert (tmp_path / "runs" / "small" / "contact_sheet.png").exists()
    assert "runs/small/contact_sheet.png" in result.output
    assert "runs/small/metrics.json" in result.output
    assert "runs/small/report.html" in result.output


def test_a_plan_tells_each_stage_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text(EXPERIMENT)
    result = vox2pix_run("plan", "small.toml")
    assert result.exit_code == 0, result.output
    for stage in ("data", "features", "decode", "generate", "evaluate", "total"):
        assert any(line.startswith(stage) for line in result.output.splitlines())
    assert "96 training trials of 32 images; 8 test images" in result.output
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.2, "1 s"), (90, "90 s"), (600, "10 min"), (7200, "2.0 h"), (864_000, "10 days")],
)
def test_durations_are_told_in_a_unit_that_fits(seconds: float, told: str) -> None:
    assert tables.duration(seconds) == told


def test_a_run_is_audited_and_reported_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text(EXPERIMENT)
    assert vox2pix_run("run", "small.toml").exit_code == 0
    result = vox2pix_run("audit", "runs/small")
    assert result.exit_code == 0, result.output
    assert all(len(line) <= 80 for line in result.stdout.splitlines())
    assert "shuffled control" in result.output.lower()
    assert "Figures: runs/small/audit" in result.output
    result = vox2pix_run("report", "runs/small")
    assert result.exit_code == 0, result.output
    assert "The report: runs/small/report.html" in result.output
    for command in (("audit", "nowhere"), ("report", "nowhere"), ("plot", "encoding", "nowhere")):
        result = vox2pix_run(*command)
        assert result.exit_code == 2
        assert "nowhere" in result.output


def test_an_encoding_analysis_ends_with_a_table_and_the_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    few = "[encode]\nrois = ['early']\nlatents = ['z', 'c']\nstrengths = []\nmoments = []\n"
    (tmp_path / "small.toml").write_text(EXPERIMENT + few + "layers = []\nresamples = 100\n")
    result = vox2pix_run("plan", "small.toml")
    assert result.exit_code == 0, result.output
    assert "2 models of every voxel" in result.output
    assert not (tmp_path / "runs").exists()
    result = vox2pix_run("encode", "small.toml")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert all(len(line) <= 80 for line in lines)
    [row] = [line for line in lines if line.startswith("early")]
    assert row.count("[") == 2
    assert "runs/small/encoding/figures" in result.output
    result = vox2pix_run("plot", "encoding", "runs/small")
    assert result.exit_code == 0, result.output
    assert "figures: runs/small/encoding/figures" in result.output
