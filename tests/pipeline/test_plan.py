import shutil

import pytest

from pipeline.conftest import experiment
from vox2pix.config import Config, DecodeConfig, load_config, shipped_experiments
from vox2pix.errors import UserError
from vox2pix.phantom import simulate
from vox2pix.pipeline.commands import plan
from vox2pix.pipeline.costs import Cost
from vox2pix.pipeline.reconstruct import STAGES

BETAS = "nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR"


def nsd(root, **tables) -> Config:
    raw = {
        "name": "x",
        "data": {"source": "nsd", "path": str(root)},
        "model": {"name": "CompVis/stable-diffusion-v1-4"},
        "decode": {"z": {"image_size": 320}, "c": {}},
        "compute": {"device": "cpu"},
    }
    return Config.model_validate(raw | tables)


@pytest.fixture
def empty_tree(tmp_path):
    """Every session file of subject 1, with nothing in it."""
    (tmp_path / BETAS).mkdir(parents=True)
    for session in range(1, 38):
        (tmp_path / BETAS / f"betas_session{session:02d}.hdf5").touch()
    return tmp_path


def test_a_tree_of_empty_files_is_planned_from_published_sizes(empty_tree):
    made = plan(nsd(empty_tree), empty_tree / "run", flops_a_second=1e12)
    text = " ".join(made.facts)
    assert "37 session files" in text
    # the paper counts 24,980 training trials and 982 test images in 37 sessions
    assert "24,975 training trials" in text
    assert "1,000 test images" in text
    assert "6,000 voxels (early)" in text
    assert not (empty_tree / "run").exists()


@pytest.mark.parametrize("name", ["betas_session{}.nii.gz", "{}.betas_session{}.mgh"])
def test_sessions_are_counted_in_any_format(tmp_path, name):
    (tmp_path / BETAS).mkdir(parents=True)
    for session in ("01", "02", "03"):
        for side in ("lh", "rh"):
            parts = (side, session) if name.startswith("{}.") else (session,)
            (tmp_path / BETAS / name.format(*parts)).touch()
    made = plan(nsd(tmp_path), tmp_path / "run", flops_a_second=1e12)
    assert "3 session files" in made.facts[0]


def test_drawing_is_priced_by_the_operations_of_the_u_net(empty_tree):
    none = {"enabled": False}
    few = {"conditions": ["z+c"], "ceilings": [], "shuffled": False, "samples": 1, "steps": 50}
    fast = plan(
        nsd(empty_tree, generate=few, audit=none),
        empty_tree / "run",
        flops_a_second=1e14,
    )
    drawing = next(s for s in fast.stages if s.name == "generate")
    # 1,000 images x 40 steps x 2 (guidance) x 803 GFLOP, plus the autoencoder
    least = 1000 * 40 * 2 * 803e9 / (0.4 * 1e14)
    assert least < drawing.seconds < 1.1 * least
    slow = plan(
        nsd(empty_tree, generate=few, audit=none),
        empty_tree / "run",
        flops_a_second=1e13,
    )
    assert next(s for s in slow.stages if s.name == "generate").seconds == pytest.approx(
        10 * drawing.seconds
    )


def test_the_shipped_experiment_with_images_is_planned_before_anything_is_there(
    empty_tree, monkeypatch
):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    shipped = load_config(shipped_experiments()["nsd-image"])
    data = shipped.data.model_copy(update={"path": empty_tree})
    config = shipped.model_copy(update={"data": data})
    stages = {s.name: s for s in plan(config, empty_tree / "run", flops_a_second=1e14).stages}
    assert "1,024 values of image" in stages["decode"].what
    n = 8996 + 1000
    assert stages["features"].write_bytes == pytest.approx(n * 4 * (6400 + 1024), rel=1e-3)
    # ViT-H/14: 632 million weights for each of 257 tokens, multiplied and added
    least = n * 2 * 0.62e9 * 257 / (0.4 * 1e14)
    alone = plan(without_image(config), empty_tree / "run", flops_a_second=1e14).stages
    features = next(s for s in alone if s.name == "features")
    assert least < stages["features"].seconds - features.seconds < 1.2 * least
    assert stages["features"].memory_bytes - features.memory_bytes > 4 * 630e6


def without_image(config):
    decode = DecodeConfig.model_validate({"z": {"rois": ["early"], "image_size": 320}})
    generate = config.generate.model_copy(update={"conditions": ("z",), "ceilings": ()})
    return config.model_copy(update={"decode": decode, "generate": generate})


def test_the_total_adds_up(empty_tree):
    made = plan(nsd(empty_tree), empty_tree / "run", flops_a_second=1e12)
    assert made.total == Cost(
        "total",
        "",
        sum(s.read_bytes for s in made.stages),
        sum(s.write_bytes for s in made.stages),
        max(s.memory_bytes for s in made.stages),
        sum(s.seconds for s in made.stages),
    )
    features = next(s for s in made.stages if s.name == "features")
    n = 8996 + 1000  # images that 37 of 40 sessions show, three showings each
    assert features.write_bytes == pytest.approx(n * 4 * (6400 + 77 * 768), rel=1e-3)


@pytest.fixture(scope="module")
def sound_tree(tmp_path_factory):
    """A small tree in NSD's layout that can be read, of two sessions."""
    root = tmp_path_factory.mktemp("sound") / "nsd"
    sizes = {"sessions": 2, "trials_per_session": 30, "n_shared": 4}
    return simulate(root, **sizes, n_early=30, n_ventral=30)


@pytest.mark.parametrize(
    ("tables", "sentence"),
    [
        ({"decode": {"z": ["erly"]}}, "There is no ROI 'erly'; did you mean early"),
        ({"data": {"sessions": 60}}, "no file of session 3, which data.sessions asks for"),
        ({"data": {"sessions": [2, 7]}}, "no file of session 7, which data.sessions asks for"),
        ({"data": {"space": "func1mm"}}, "no space 'func1mm'; there is: func1pt8mm"),
    ],
)
def test_what_a_tree_does_not_have_is_said_not_planned(sound_tree, tables, sentence):
    data = {"source": "nsd", "path": str(sound_tree)} | tables.get("data", {})
    with pytest.raises(UserError, match=sentence):
        plan(nsd(sound_tree, **(tables | {"data": data})), sound_tree / "run", flops_a_second=1e12)


def test_a_tree_that_contradicts_itself_is_said_not_planned(sound_tree, tmp_path):
    tree = shutil.copytree(sound_tree, tmp_path / "nsd")
    (responses,) = tree.rglob("responses.tsv")
    responses.write_text("".join(responses.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(UserError, match="lists 29 trials of session 2"):
        plan(nsd(tree), tree / "run", flops_a_second=1e12)


@pytest.mark.parametrize("file", ["betas_session02", "streams", "nsd_expdesign", "nsd_stimuli"])
def test_a_file_that_cannot_be_read_is_no_reason_not_to_plan(sound_tree, tmp_path, file):
    tree = shutil.copytree(sound_tree, tmp_path / "nsd")
    (damaged,) = (path for path in tree.rglob(f"{file}.*") if path.suffix != ".ctab")
    damaged.write_bytes(b"")
    made = plan(nsd(tree), tree / "run", flops_a_second=1e12)
    assert f"2 session files; they cannot be read: {damaged}" in made.facts[0]
    assert not any("no size is known" in fact for fact in made.facts)
    with pytest.raises(UserError, match="There is no ROI 'erly'; did you mean early"):
        plan(nsd(tree, decode={"z": ["erly"]}), tree / "run", flops_a_second=1e12)


def test_what_is_only_guessed_of_empty_files_is_said(empty_tree):
    wanted = nsd(empty_tree, decode={"z": ["erly", "early"], "c": ["V1v"]})
    made = plan(wanted, empty_tree / "run", flops_a_second=1e12)
    assert "no size is known of erly, V1v: 4,000 voxels are taken for each" in made.facts[2]
    many = nsd(empty_tree, data={"source": "nsd", "path": str(empty_tree), "sessions": 60})
    with pytest.raises(UserError, match=r"no file of session 38.* the last one is 37"):
        plan(many, empty_tree / "run", flops_a_second=1e12)


def test_no_data_is_said_not_planned(tmp_path):
    with pytest.raises(UserError, match=str(tmp_path)):
        plan(nsd(tmp_path), tmp_path / "run", flops_a_second=1e12)


def test_a_phantom_is_planned_as_it_will_be_simulated(small_run):
    made, _ = small_run
    drawn = plan(experiment(), made.path, flops_a_second=1e11)
    n_train = len(made.subject.train.stimulus_ids)
    assert (
        f"{made.subject.train.n_trials:,} training trials of {n_train:,} images" in (drawn.facts[1])
    )
    voxels = {name: int(made.subject.voxel_mask(name).sum()) for name in ("early", "ventral")}
    assert f"z from {voxels['early']} voxels" in drawn.facts[2]
    images = next(s for s in drawn.stages if s.name == "generate")
    assert images.write_bytes == 8 * (1 + 3 * 2 + 3 + 1) * 64 * 64 * 3
    doubted = next(s for s in drawn.stages if s.name == "audit-drawing")
    assert doubted.write_bytes == 8 * 4 * 64 * 64 * 3
    kept = next(s for s in drawn.stages if s.name == "gallery")
    held = {p: p.stat().st_size for p in (made.path / "gallery").rglob("*") if p.is_file()}
    assert 0.3 * kept.write_bytes < sum(held.values()) < 1.5 * kept.write_bytes


def test_every_stage_that_takes_its_time_is_planned_the_audits_where_it_is_on(empty_tree):
    stages, without = (
        [s.name for s in plan(nsd(empty_tree, audit=audit), empty_tree, 1e12).stages]
        for audit in ({}, {"enabled": False})
    )
    known = [stage.name for stage in STAGES]
    assert sorted(stages, key=known.index) == stages
    assert set(known) - set(stages) == {"sheet", "report"}
    assert set(stages) - set(without) == {"audit-decoding", "audit-drawing", "audit"}


def test_clusters_held_out_are_priced_as_so_many_decoders(empty_tree):
    seconds = {}
    for k in (4, 8):
        made = plan(nsd(empty_tree, audit={"clusters": k}), empty_tree, 1e11)
        seconds |= {(k, s.name): s.seconds for s in made.stages}
    assert 1.7 < seconds[8, "audit-decoding"] / seconds[4, "audit-decoding"] < 2.6
    assert seconds[8, "audit-decoding"] > 5 * seconds[8, "decode"]
