"""The command, from two folders to a table and files."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from vox2pix import cli
from vox2pix.errors import UserError
from vox2pix.evaluation import evaluate_images, latex_table, pixcorr

N = 6


def command(*arguments: object) -> Result:
    runner = CliRunner(env={"COLUMNS": "80", "TERMINAL_WIDTH": "80", "NO_COLOR": "1"})
    return runner.invoke(cli.app, ["evaluate", *(str(argument) for argument in arguments)])


def sentence(result: Result) -> str:
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.strip().splitlines()
    return line.removeprefix("vox2pix: ")


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    """Folders ``seen`` and ``mine`` with two samples a stimulus, and what is in them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    rng = np.random.default_rng(0)
    seen = rng.integers(0, 256, (N, 16, 16, 3), dtype=np.uint8)
    noise = rng.normal(0, 60, (N, 2, 16, 16, 3))
    mine = np.clip(seen[:, None] + noise, 0, 255).astype(np.uint8)
    for folder in ("seen", "mine"):
        (tmp_path / folder).mkdir()
    for i in range(N):
        Image.fromarray(seen[i]).save(tmp_path / "seen" / f"{i:02d}.png")
        for s in range(2):
            Image.fromarray(mine[i, s]).save(tmp_path / "mine" / f"{i:02d}_{s}.png")
    return seen, mine


BOTH = ("--truth", "seen", "--reconstructions", "mine", "--samples", "{id}_{sample}.png")


def test_a_table_and_four_files(folders: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    seen, mine = folders
    result = command(*BOTH)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert "  6 stimuli, paired by id; 2 samples each" in lines
    shown = [line for line in lines if "[" in line]
    rows = {line.split()[0]: line for line in shown[:5]}
    assert list(rows) == ["PixCorr", "SSIM", "pixels", "layout", "edges"]
    assert [line.split()[0] for line in shown[5:]] == list(rows)
    heads = [line.rsplit("  read at")[0].strip() for line in lines if "  read at" in line]
    assert heads == ["mean of 2", "best of 2"]
    assert lines[-1] == "Table, scores, settings: mine-evaluation"
    out = tmp_path / "mine-evaluation"
    names = {"metrics.json", "scores.csv", "table.tex", "provenance.json", ".vox2pix.json"}
    assert {path.name for path in out.iterdir()} == names
    expected = np.mean([pixcorr(seen / 255, mine[:, s] / 255) for s in range(2)], axis=0)
    records = json.loads((out / "metrics.json").read_text())
    assert records[0]["value"] == pytest.approx(expected.mean(), abs=1e-6)
    assert f"{expected.mean():.3f}".removeprefix("0") in rows["PixCorr"]
    with (out / "scores.csv").open() as file:
        scores = list(csv.DictReader(file))
    first = [row for row in scores if row["metric"] == "PixCorr"]
    assert [row["stimulus_id"] for row in first] == [f"{i:02d}" for i in range(N)]
    np.testing.assert_allclose([float(row["score"]) for row in first], expected, atol=1e-6)
    last = {(row["metric"], row["direction"]) for row in scores[-N:]}
    assert last == {("edges", "reconstruction")}
    told = json.loads((out / "provenance.json").read_text())
    assert told["protocol"]["name"] == "default"
    assert told["samples"] == "{id}_{sample}.png"
    table = (out / "table.tex").read_text()
    assert r"Method & PixCorr & SSIM & pixels & layout & edges \\" in table
    assert [row.split(" & ")[0] for row in table.splitlines() if row.startswith("mine")] == [
        "mine, mean of 2", "mine, best of 2",
    ]  # fmt: skip


def test_the_published_rows_beside_what_can_be_computed(
    folders: tuple[np.ndarray, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    result = command(*BOTH, "--protocol", "mindeye2", "--published", "--out", "results")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert all(len(line) <= 80 for line in lines if not line.startswith("Not computed"))
    (mine,) = (line.split() for line in lines if line.startswith("mine "))
    assert mine[3:] == ["-"] * 6
    assert "MindEye2" in "".join(lines)
    said = " ".join(result.stdout.split())
    assert "Not computed: AlexNet(2), AlexNet(5)" in said
    assert "clip-vit-large-patch14" in said
    table = (tmp_path / "results" / "table.tex").read_text()
    assert r"Takagi \& Nishimoto & .246 & .410 & 78.9" in table
    assert r"SwAV $\downarrow$" in table
    told = json.loads((tmp_path / "results" / "provenance.json").read_text())
    assert set(told["not_computed"]) == {
        "AlexNet(2)", "AlexNet(5)", "Inception", "CLIP", "EffNet-B", "SwAV",
    }  # fmt: skip


def test_another_network_is_added(folders: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    result = command(*BOTH, "--network", "phantom", "--network", "pixels@4")
    assert result.exit_code == 0, result.output
    records = json.loads((tmp_path / "mine-evaluation" / "metrics.json").read_text())
    means = {r["metric"]: r["chance"] for r in records if r["samples"] == "mean of 2"}
    added = ["phantom", "phantom top-1", "phantom top-5", "pixels@4"]
    assert {name: means[name] for name in added} == dict(
        zip(added, (0.5, 1 / N, 5 / N, 0.5), strict=True)
    )
    told = json.loads((tmp_path / "mine-evaluation" / "provenance.json").read_text())
    assert set(told["weights"]["phantom"]) == {
        "config.json", "model.safetensors", "preprocessor_config.json",
    }  # fmt: skip


def test_decoded_captions_are_scored_beside(
    folders: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    written = {i: [f"a red ball number {i} on grass", f"ball {i}, red"] for i in range(N)}
    lines = {
        "told.csv": [f"{i:02d},a red ball number {i if i % 2 else 9} on grass" for i in range(N)],
        "written.csv": [f'{i:02d},"{text}"' for i, texts in written.items() for text in texts],
    }
    for name, rows in lines.items():
        (tmp_path / name).write_text("\n".join(["stimulus_id,caption", *rows, ""]))
    given = (*BOTH, "--captions", "told.csv")
    result = command(*given, "--references", "written.csv")
    assert result.exit_code == 0, result.output
    assert all(len(line) <= 80 for line in result.stdout.splitlines() if "[" in line)
    assert "BLEU of all captions as one corpus" in result.stdout
    assert len([line for line in result.stdout.splitlines() if line.startswith("chrF ")]) == 1
    out = tmp_path / "mine-evaluation"
    records = {r["metric"]: r for r in json.loads((out / "metrics.json").read_text())}
    chrf = records["chrF"]
    with (out / "scores.csv").open() as file:
        scores = [float(row["score"]) for row in csv.DictReader(file) if row["metric"] == "chrF"]
    assert scores[1::2] == pytest.approx([100] * 3)
    assert chrf["value"] == pytest.approx(np.mean(scores))
    assert chrf["chance"] < chrf["value"] < 100
    assert chrf["ci_low"] < chrf["value"] < chrf["ci_high"]
    assert "Give both --captions and --references" in sentence(command(*given))
    (tmp_path / "written.csv").write_text("stimulus_id,caption\n00,a ball\n")
    said = sentence(command(*given, "--references", "written.csv"))
    assert "written.csv has no caption of 5 of 6 stimuli, the first is '01'" in said


def test_arrays_score_as_files_do(folders: tuple[np.ndarray, np.ndarray]) -> None:
    seen, mine = folders
    np.save("seen.npy", seen)
    np.savez("mine.npz", images=mine, ids=np.arange(N))
    files, _ = evaluate_images("seen", "mine", samples="{id}_{sample}.png")
    arrays, _ = evaluate_images("seen.npy", "mine.npz")
    assert [r.value for r in arrays.records] == [r.value for r in files.records]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (BOTH[:4], "have no reconstruction in mine (00, 01, 02, ...). Give both sides the same"),
        ((*BOTH, "--protocol", "mindeye3"), "There is no protocol 'mindeye3'"),
        ((*BOTH, "--weights", "nowhere"), "nowhere is no folder"),
        ((*BOTH, "--network", "resnet"), "There is no image encoder 'resnet'"),
        (("--truth", "seen", "--reconstructions", "nobody"), "nobody does not exist"),
        ((*BOTH, "--network", "pixels:"), "There is no image encoder 'pixels:'"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: tuple[str, ...], words: str, folders: object, tmp_path: Path
) -> None:
    assert words in sentence(command(*arguments))
    assert not (tmp_path / "mine-evaluation").exists()


def test_latex_prints_every_sign(folders: object, tmp_path: Path) -> None:
    (tmp_path / "mine").rename(tmp_path / "a_b & 5%")
    found, _ = evaluate_images("seen", "a_b & 5%", samples="{id}_{sample}.png")
    assert r"a\_b \& 5\%, mean of 2 & ." in latex_table(found)


def test_a_seed_decides_and_nothing_else(folders: object) -> None:
    given = {"truth": "seen", "reconstructions": "mine", "samples": "{id}_{sample}.png"}
    first, again, other = (evaluate_images(**given, seed=s)[0] for s in (1, 1, 2))  # type: ignore[arg-type]
    assert first.records == again.records
    assert first.records != other.records
    with pytest.raises(UserError, match="no protocol"):
        evaluate_images(**given, protocol="none")  # type: ignore[arg-type]
