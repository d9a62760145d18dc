"""Every example runs, prints what is right, and writes into its folder only."""

import ast
import os
import re
import resource
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import matplotlib as mpl
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.io import loadmat
from skimage.metrics import structural_similarity
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler

import vox2pix

ROOT = Path(__file__).parents[1]
RECORDED = ROOT / "docs" / "_static" / "examples"
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))
SLOW = ("cluster",)  # it starts three processes
NUMBER = re.compile(r"[-+]?\d*\.?\d+(?:e[-+]?\d+)?")
SIGNED = re.compile(r"-?\d+\.\d+")


def start(script, tmp_path, **environment):
    """Run a script where nothing but its folder may be written to; return what it prints."""
    places = {name: tmp_path / name for name in ("elsewhere", "home", "temporary", "folder")}
    for place in places.values():
        place.mkdir()
    settings = {
        "HOME": str(places["home"]),
        "TMPDIR": str(places["temporary"]),
        "MPLBACKEND": "Agg",
        "MPLCONFIGDIR": mpl.get_configdir(),
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "torch"),  # torch makes it when it is loaded
    }
    done = subprocess.run(
        [sys.executable, "-X", "utf8", str(script), str(places["folder"])],
        cwd=places["elsewhere"],
        env=os.environ | settings | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for name in ("elsewhere", "home", "temporary"):
        assert list(places[name].iterdir()) == [], f"{script.name} writes outside its folder"
    return done.stdout.replace(str(places["folder"]), "my-folder")


def words(text):
    """Return the words of a text, with a sign for each number."""
    return NUMBER.sub("#", text).split()


def numbers(line):
    return [float(found) for found in SIGNED.findall(line)]


def rows_of(printed):
    """Return the numbers of each printed line by its first word."""
    return {line.split()[0]: numbers(line) for line in printed.splitlines() if line.split()}


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(script, marks=[pytest.mark.slow] * (script.stem in SLOW), id=script.stem)
        for script in SCRIPTS
    ],
)
def test_it_runs_and_prints_what_is_right(script, tmp_path):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    printed = start(script, tmp_path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime - before.ru_utime < 60  # seconds of one core
    recorded = RECORDED / f"{script.stem}.txt"
    assert words(printed) == words(recorded.read_text()), "Run `make figures`."
    has_figure = (RECORDED / f"{script.stem}.png").is_file()
    assert (tmp_path / "folder" / f"{script.stem}.png").is_file() == has_figure
    CHECKS[script.stem](tmp_path / "folder", printed)


# --- the numbers, computed again -----------------------------------------------------------------


def images_of(folder, size=None):
    """Read PNG files in the order of their names, in [0, 1]."""
    images = [Image.open(path).convert("RGB") for path in sorted(folder.glob("*.png"))]
    if size:
        images = [image.resize((size, size), Image.Resampling.BOX) for image in images]
    return np.stack([np.asarray(image) for image in images]) / 255


def check_decode_and_draw(folder, printed):
    (z, c, both) = (numbers(line) for line in printed.splitlines()[1:])
    assert z[0] > c[0] > 0.5  # z holds the layout, c the content
    assert c[1] > z[1] > 0.5
    assert min(both) > 0.7


def check_own_data(folder, printed):
    """Compare with scikit-learn on the mean responses."""
    data = folder / "my-data"
    trials = pd.read_csv(data / "trials.csv")
    is_v1 = pd.read_csv(data / "voxels.csv")["V1"].to_numpy(bool)
    means = pd.DataFrame(np.load(data / "responses.npy")[:, is_v1])
    means = means.groupby(trials["stimulus_id"].to_numpy()).mean()
    is_test = trials.drop_duplicates("stimulus_id").set_index("stimulus_id")["split"] == "test"
    is_test = is_test[means.index].to_numpy()
    names = means.index.drop("patches03")  # its image was removed on purpose
    colours = dict(zip(names, images_of(data / "images", 4).reshape(-1, 48), strict=True))
    train, test = means[~is_test], means[is_test].drop("patches03")
    scaler = StandardScaler().fit(train)
    ridge = RidgeCV(np.logspace(0, 4, 9), alpha_per_target=True)
    ridge.fit(scaler.transform(train), np.stack([colours[name] for name in train.index]))
    predicted = ridge.predict(scaler.transform(test))
    truth = np.stack([colours[name] for name in test.index])
    expected = np.mean([np.corrcoef(truth[:, k], predicted[:, k])[0, 1] for k in range(48)])
    lines = printed.splitlines()
    assert lines[1].startswith(f"V1: {is_v1.sum()} voxels, ")
    assert numbers(lines[4])[0] == pytest.approx(expected, abs=0.03)
    counts = trials.groupby("split")["stimulus_id"].agg(["size", "nunique"])
    assert lines[0].startswith(
        f"{counts.loc['train', 'size']} training trials, {counts.loc['test', 'nunique']} test"
    )
    assert "patches03" in lines[6]


def check_other_decoder(folder, printed):
    rows = rows_of(printed)
    assert list(rows) == ["decoder", "RidgeDecoder", "RidgeCV", "PLSRegression", "KNeighbors"]
    assert rows["RidgeDecoder"][0] == pytest.approx(rows["RidgeCV"][0], abs=0.04)
    assert min(rows["RidgeDecoder"][0], rows["PLSRegression"][0]) > rows["KNeighbors"][0] > 0.1


def check_how_much_data(folder, printed):
    """Count training trials in NSD's own table and design."""
    root = folder / "brain" / "nsddata"
    shared = loadmat(root / "experiments/nsd/nsd_expdesign.mat")["sharedix"].ravel()
    behaviour = pd.read_csv(root / "ppdata/subj01/behav/responses.tsv", sep="\t")
    trained = ~behaviour["73KID"].isin(shared)
    lines = printed.splitlines()[1:]
    for n_sessions, line in enumerate(lines, 1):
        expected = (trained & (behaviour["SESSION"] <= n_sessions)).sum()
        assert int(line.split()[0]) == expected
    r = np.array([numbers(line) for line in lines])
    assert (np.diff(r, axis=0) > 0).all()  # more trials are better
    assert (np.diff(r, axis=1) > 0).all()  # and more repeats are


def check_own_target(folder, printed):
    r, identified = (numbers(line)[0] for line in printed.splitlines())
    assert 0.3 < r < 1
    assert 0.8 < identified <= 1


def check_encoding_map(folder, printed):
    """Compare with the saved map, and with the regions and the ncsnr of the tree."""
    rows = rows_of(printed)
    surfaces = [nib.load(folder / f"{hemi}.c_minus_z.func.gii") for hemi in ("lh", "rh")]
    saved = np.concatenate([surface.darrays[0].data for surface in surfaces])
    streams, ncsnr = (
        np.concatenate([np.asarray(nib.load(path).dataobj).ravel() for path in both])
        for both in (
            sorted((folder / "brain").rglob("?h.streams.mg?")),
            sorted((folder / "brain").rglob("?h.ncsnr.mg?")),
        )
    )
    labels = {"early": 1, "midventral": 2, "ventral": 5, "lateral": 6, "parietal": 7}
    for roi, label in labels.items():
        z, c, ceiling = rows[roi]
        inside = (streams == label) & np.isfinite(saved)
        assert saved[inside].mean() == pytest.approx(c - z, abs=0.011)
        power = ncsnr[inside].astype(float) ** 2
        expected = np.sqrt(power / (power + 1 / 3)).mean()  # three repeats of a test image
        assert ceiling == pytest.approx(expected, abs=0.02)
    assert rows["early"][0] > rows["early"][1]
    assert rows["ventral"][1] > rows["ventral"][0]


def check_evaluate_folder(folder, printed):
    """Compute PixCorr and SSIM again from the files."""
    seen = images_of(folder / "seen")
    grey = seen @ [0.2125, 0.7154, 0.0721]
    lines = [line.split() for line in printed.splitlines()[1:]]
    rows = {(line[0], line[1]): line for line in lines}
    for column, name in ((0, "mine"), (1, "other")):
        drawn = images_of(folder / name).reshape(len(seen), 2, *seen.shape[1:])
        r = [np.corrcoef(seen[i].ravel(), drawn[i, k].ravel())[0, 1] for i, k in pairs(drawn)]
        s = [
            structural_similarity(
                grey[i],
                drawn[i, k] @ [0.2125, 0.7154, 0.0721],
                gaussian_weights=True,
                use_sample_covariance=False,
                data_range=1,
            )
            for i, k in pairs(drawn)
        ]
        for metric, expected in (("PixCorr", np.mean(r)), ("SSIM", np.mean(s))):
            line = next(line for line in lines if line[0] == metric)
            assert float(numbers(" ".join(line))[column]) == pytest.approx(expected, abs=0.002)
        flat = seen.reshape(len(seen), -1)
        won = np.zeros((len(seen), 2))
        for i, k in pairs(drawn):
            rs = [np.corrcoef(flat[i], drawn[j, k].ravel())[0, 1] for j in range(len(seen))]
            won[i, k] = np.mean([rs[i] > rs[j] for j in range(len(seen)) if j != i])
        line = rows["pixels", "original"]
        assert float(line[2 + column]) == pytest.approx(won.mean(), abs=0.002)
    saved = pd.read_csv(folder / "evaluation-mine" / "scores.csv")
    assert saved["stimulus_id"].nunique() == len(seen)


def pairs(drawn):
    return [(i, k) for i in range(drawn.shape[0]) for k in range(drawn.shape[1])]


def check_audit_images(folder, printed):
    a, b = printed.split("Laboratory B")
    assert a.startswith("Laboratory A: warn")
    assert b.startswith(": fail")
    assert "fail" not in a.replace("warn", "")
    for found in ("40 of 40 reconstructions are", "a difference of 0.000 [0.000, 0.000]"):
        assert found in " ".join(b.split())
        assert found not in " ".join(a.split())
    assert "not computed: mean control" in a


def check_cluster(folder, printed):
    """Take the means of the scores of each image, which workers computed."""
    scores = pd.read_csv(folder / "run" / "scores.csv", keep_default_na=False)
    drawn = scores[scores["condition"] == "z+c"]
    expected = drawn.groupby(["metric", "direction"])["score"].mean()
    assert printed.startswith("2 workers\n")
    shown = [numbers(line)[0] for line in printed.splitlines()[3:]]
    np.testing.assert_allclose(sorted(shown), sorted(expected), atol=1e-4)
    provenance = pd.read_json(folder / "run" / "provenance.json")
    assert {workers["kind"] for workers in provenance.loc["workers"]} == {"dask"}


CHECKS = {name[6:]: check for name, check in globals().items() if name.startswith("check_")}


# --- the rest ------------------------------------------------------------------------------------


def test_without_dask_the_cluster_is_skipped_with_a_message(tmp_path):
    (tmp_path / "absent").mkdir()
    (tmp_path / "absent" / "distributed.py").write_text("raise ImportError")
    paths = os.pathsep.join([str(tmp_path / "absent"), os.environ.get("PYTHONPATH", "")])
    printed = start(ROOT / "examples" / "cluster.py", tmp_path, PYTHONPATH=paths)
    assert printed == "Skipped: Dask is not installed (pip install 'vox2pix[cluster]').\n"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_it_is_short_says_what_it_prints_and_uses_public_names(script):
    source = script.read_text()
    tree = ast.parse(source)
    about = ast.get_docstring(tree)
    assert about.partition("\n")[0].endswith(".")
    assert "\nPrinted" in about
    code = source.split('"""', 2)[2].splitlines()
    assert 20 <= sum(bool(line.strip()) and not line.strip().startswith("#") for line in code) <= 65
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("vox2pix"):
            public = import_module(node.module).__all__
            assert {name.name for name in node.names} <= set(public)
            assert not any(part.startswith("_") for part in node.module.split("."))
    for room, name in re.findall(r"vox2pix\.([a-z]+)\.(\w+)", "\n".join(code)):
        module = import_module(f"vox2pix.{room}")
        if room not in vox2pix.__all__ and name not in module.__all__:  # then a room of a room
            assert import_module(f"vox2pix.{room}.{name}").__all__


def test_every_example_is_in_the_gallery_with_its_output():
    page = ast.parse((ROOT / "docs" / "generated.py").read_text())
    (listed,) = (
        ast.literal_eval(node.value)
        for node in page.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "EXAMPLES"
    )
    assert sorted(listed) == [script.stem for script in SCRIPTS]
    assert {path.stem for path in RECORDED.glob("*.txt")} == set(listed)
    assert {path.stem for path in RECORDED.glob("*.png")} <= set(listed)
