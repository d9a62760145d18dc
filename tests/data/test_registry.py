"""The list of readers: what settings become, and which are refused."""

from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from vox2pix.config import Config, DataConfig
from vox2pix.data import SOURCES, Published, Subject, open_folder, open_nsd, source_of
from vox2pix.data._registry import recognised
from vox2pix.errors import UserError


def settings(**given: object) -> DataConfig:
    return DataConfig.model_validate({"path": "somewhere", **given})


def test_every_reader_has_a_name_of_its_own_and_says_what_it_reads(tmp_path):
    for name, kind in SOURCES.items():
        assert kind.name == name
        assert kind.title
        made = source_of(settings(source=name), tmp_path)
        assert type(made) is kind
        assert made.root == tmp_path
        assert not kind.recognises(tmp_path)
        assert list(made.listed()) == []


def test_a_source_opens_what_the_function_opens(nsd, tmp_path, write_folder):
    tree = nsd()
    source = source_of(settings(source="nsd", subject=1, sessions=[2]), tree.root)
    opened, direct = source.open(["early"]), open_nsd(tree.root, 1, [2], "early")
    assert opened.trials.equals(direct.trials)
    assert opened.voxels.equals(direct.voxels)
    np.testing.assert_array_equal(opened.train.betas(), direct.train.betas())
    betas = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    path = write_folder(tmp_path / "own", betas, list("abcabc"))
    opened = source_of(settings(source="folder"), path).open()
    np.testing.assert_array_equal(opened.train.betas(), open_folder(path).train.betas())
    assert recognised(tree.root).name == "nsd"
    assert recognised(path).name == recognised(tmp_path).name == "folder"


def test_what_is_read_is_listed(tmp_path, write_folder):
    path = write_folder(tmp_path / "own", np.ones((2, 3)), ["a", "b"])
    (path / "notes.txt").write_text("not read")
    source = source_of(settings(source="folder"), path)
    names = {"./responses.npy", "./trials.csv", "./images/a.png", "./images/b.png"}
    assert {name for name, _, _ in source.listed()} == names
    assert {place for _, place, _ in source.listed()} == {path / name[2:] for name in names}
    assert source.holds(PurePosixPath("images/run"))
    assert not source.holds(PurePosixPath("runs"))
    source = source_of(settings(source="nsd", subject=3), path)
    assert source.holds(PurePosixPath("nsddata/ppdata/subj03/run"))
    assert not source.holds(PurePosixPath("nsddata/ppdata/subj01/run"))


def test_sizes_come_from_the_files_or_from_what_was_published(nsd):
    tree = nsd()
    source = source_of(settings(source="nsd"), tree.root)
    assert isinstance(source.outlook(["early"]), Subject)
    for file in tree.folder.glob("betas_*.hdf5"):
        file.write_bytes(b"")
    published = source.outlook(["early", "V1v"])
    assert isinstance(published, Published)
    assert published.n_train_trials == 2 * 750 * 0.9
    assert published.n_voxels == {"early": 6_000, "V1v": 4_000}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"source": "nds"}, r"There is no reader of data 'nds'; did you mean 'nsd'\?"),
        (
            {"source": "folder", "subject": 2},
            r"The setting data\.subject is '2' and has no effect on a folder of your own data",
        ),
        (
            {"source": "nsd", "images": "pngs"},
            r"The setting data\.images is 'pngs' and has no effect on NSD's layout: remove it\.",
        ),
        (
            {"source": "folder", "options": {"mask": "a"}},
            r"There is no option data\.options\.mask of a folder of your own data; it has none\.",
        ),
    ],
)
def test_what_has_no_effect_is_refused(given, sentence):
    with pytest.raises(UserError, match=sentence):
        source_of(settings(**given), Path("somewhere"))


def test_places_are_no_results_but_a_share_is():
    data = settings(source="nsd", images="a", test=0.1)
    assert data.settings() == settings(source="nsd", path="b", images="c", test=0.1).settings()
    assert data.settings() != settings(source="nsd", images="a", test=0.2).settings()
    listed = settings(source="nsd", test="split.csv")
    assert listed.test == Path("split.csv")
    assert "test" not in listed.settings()


def test_places_are_relative_to_the_experiment_file(tmp_path):
    from vox2pix.config import for_others, load_config

    file = tmp_path / "a.toml"
    file.write_text("name = 'a'\n[data]\nsource = 'nsd'\npath = 'x'\nimages = '../y'\ntest = 0.5\n")
    config = load_config(file)
    assert config.data.path == tmp_path / "x"
    assert config.data.images == tmp_path.parent / "y"
    assert config.data.test == 0.5
    assert for_others(config).data.images == Path("y")
    assert isinstance(config, Config)
