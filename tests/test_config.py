import tomllib
from pathlib import Path

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from vox2pix.config import Config, digest, load_config, shipped_experiments, without_place
from vox2pix.errors import UserError


def write(folder: Path, text: str) -> Path:
    path = folder / "experiment.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", shipped_experiments().values(), ids=lambda p: p.stem)
def test_every_shipped_experiment_is_valid(path):
    assert load_config(path).name


def test_paths_are_relative_to_the_file(tmp_path):
    text = 'name = "x"\n[data]\nsource = "nsd"\npath = "../nsd"\n'
    (tmp_path / "deep").mkdir()
    assert load_config(write(tmp_path / "deep", text)).data.path == tmp_path / "nsd"


MODELS = (
    'name = "x"\n[data]\nsource = "phantom"\n[model]\nname = "{}"\n[evaluate]\nencoder = "{}"\n'
)


@pytest.mark.parametrize(
    ("name", "encoder"),
    [
        ("../models/sd", "../models/clip"),
        ("{}/models/sd", "../models/clip:hidden_states.6@224"),
        ("~/models/sd", "~/models/clip@224"),
    ],
)
def test_folders_of_models_are_relative_to_the_file(tmp_path, monkeypatch, name, encoder):
    monkeypatch.setenv("HOME", str(tmp_path))
    for folder in ("models/sd", "models/clip", "deep"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "models")
    text = MODELS.format(name.format(tmp_path), encoder)
    found = load_config(write(tmp_path / "deep", text))
    assert found.model.name == str(tmp_path / "models/sd")
    layer = encoder.partition("clip")[2]
    assert found.evaluate.encoder == str(tmp_path / "models/clip") + layer
    assert without_place(found.model.name) == "sd"
    assert without_place(found.evaluate.encoder) == f"clip{layer}"
    again = tomli_w.dumps(found.model_dump(mode="json", exclude_none=True))
    assert load_config(write(tmp_path / "models", again)) == found


@pytest.mark.parametrize(
    ("name", "encoder"),
    [("phantom", "pixels"), ("owner/model", "alexnet:features.4@224"), ("nowhere", ":x")],
)
def test_other_names_of_models_stay_names(tmp_path, monkeypatch, name, encoder):
    (tmp_path / "phantom").mkdir()
    (tmp_path / "cwd/owner/model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "cwd")
    found = load_config(write(tmp_path, MODELS.format(name, encoder)))
    assert (found.model.name, found.evaluate.encoder) == (name, encoder)
    assert (without_place(name), without_place(encoder)) == (name, encoder)


def test_a_folder_that_cannot_be_one_is_named(tmp_path):
    text = MODELS.format("~nobody-of-that-name/sd", "phantom")
    with pytest.raises(UserError, match=r"experiment\.toml: model\.name cannot be a path"):
        load_config(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name = ", "is not valid TOML"),
        ('name = "x"\n', "the setting 'data' is missing"),
        (
            'name = "x"\n[data]\nsource = "phantom"\n[generate]\nsample = 3\n',
            "there is no setting 'generate.sample'; did you mean 'samples'?",
        ),
        (
            'name = "x"\n[data]\nsource = "phantom"\nqwertz = 3\n',
            "there is no setting 'data.qwertz'; choose from source, path",
        ),
        (
            'name = "x"\n[data]\nsource = "phantom"\n[generate]\nstrength = 1.5\n',
            "'generate.strength' is 1.5, but: Input should be less than or equal to 1",
        ),
        (
            'name = "x"\n[data]\nsource = "nsd"\n',
            "data.path is missing: name the folder",
        ),
        ('name = "../x"\n[data]\nsource = "phantom"\n', "'name' is '../x'"),
        ('name = "x"\ndata = 3\n', "'data' is 3"),
        (
            'name = "x"\n[data]\nsource = "phantom"\n[generate]\nconditions = ["z", "z"]\n',
            "generate.conditions names a condition twice: z, z.",
        ),
        (
            'name = "x"\n[data]\nsource = "phantom"\n[generate]\nsteps = 3\nstrength = 0.1\n',
            "generate.steps = 3 at generate.strength = 0.1 leaves no step",
        ),
        (
            'name = "x"\n[data]\nsource = "phantom"\n[generate]\nsteps = 1000\n',
            "'generate.steps' is 1000, but: Input should be less than or equal to 999",
        ),
        (
            'name = "x"\n[data]\nsource = "phantom"\n[encode]\nsteps = 1000\n',
            "'encode.steps' is 1000, but: Input should be less than or equal to 999",
        ),
        (
            'name = "x"\n[data]\nsource = "phantom"\n[encode]\nlatents = []\n',
            "'encode.latents' is [], but: Tuple should have at least 1 item",
        ),
        (
            'name = "x"\n[data]\nsource = "phantom"\n[decode]\nalphas = [0.0]\n',
            "'decode.alphas.0' is 0.0, but: Input should be greater than 0",
        ),
        (
            'name = "x"\n[data]\nsource = "phantom"\n[decode]\nselektion = "cv"\n',
            "there is no setting 'decode.selektion'; did you mean 'selection'? A target is given",
        ),
        (
            'name = "x"\n[data]\nsource = "phantom"\n[decode.tint]\ngain = 2\n',
            "the setting 'decode.tint.rois' is missing",
        ),
        (
            'name = "x"\n[data]\nsource = "phantom"\n[decode.z]\nrois = [3]\n',
            "'decode.z.rois.0' is 3, but: Input should be a valid string",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(tmp_path, text, sentence):
    path = write(tmp_path, text)
    with pytest.raises(UserError) as error:
        load_config(path)
    assert sentence in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"There is no experiment file .*nowhere\.toml"):
        load_config(tmp_path / "nowhere.toml")


def test_the_protocol_sets_what_the_file_leaves_open(tmp_path):
    text = 'name = "x"\nprotocol = "takagi2023"\n[data]\nsource = "phantom"\n[decode]\n'
    config = load_config(write(tmp_path, text + 'z = ["V1v"]\n'))
    assert config.decode.targets["z"].settings == {"posterior": "sample"}
    assert config.generate.schedule == "takagi2023"
    assert max(config.decode.alphas) == 1.0
    assert config.decode.rois == {"z": ("V1v",)}
    for decode, z in (
        ({}, {"posterior": "sample"}),
        ({"z": {"posterior": "mode"}}, {"posterior": "mode"}),
        ({"c": ["ventral"]}, None),
    ):
        raw = {"name": "x", "data": {"source": "phantom"}, "decode": decode}
        targets = Config.model_validate(raw | {"protocol": "takagi2023"}).decode.targets
        assert (targets["z"].settings if "z" in targets else None) == z
    with pytest.raises(UserError, match=r"chooses penalties by folds: remove decode\.selection"):
        load_config(write(tmp_path, text + 'selection = "gcv"\n'))


def test_how_a_run_is_computed_is_not_part_of_what_it_computes():
    one = Config.model_validate({"name": "x", "data": {"source": "phantom"}})
    other = one.model_copy(update={"compute": one.compute.model_copy(update={"batch_size": 1})})
    assert digest(one.generate) == digest(other.generate)
    assert digest(one.compute) != digest(other.compute)


def test_targets_are_tables_or_lists_of_regions(tmp_path):
    text = 'name = "x"\n[data]\nsource = "phantom"\n'
    assert load_config(write(tmp_path, text)).decode.rois == {"z": ("early",), "c": ("ventral",)}
    short = load_config(write(tmp_path, text + '[decode]\ntint = ["V1"]\nalphas = [1.0]\n'))
    assert short.decode.rois == {"tint": ("V1",)}
    assert (short.decode.alphas, short.decode.targets["tint"].settings) == ((1.0,), {})
    own = load_config(write(tmp_path, text + "[decode.z]\nimage_size = 320\n[decode.tint]\n"
                                      'rois = ["V2", "V1"]\ngain = 2\n'))  # fmt: skip
    assert own.decode.rois == {"z": ("early",), "tint": ("V2", "V1")}
    assert [t.settings for t in own.decode.targets.values()] == [{"image_size": 320}, {"gain": 2}]
    for config in (short, own):
        again = tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))
        assert load_config(write(tmp_path, again)) == config
    assert digest(short.decode) != digest(own.decode)


@given(
    samples=st.integers(1, 100),
    strength=st.floats(0.02, 1),
    conditions=st.none()
    | st.lists(st.sampled_from(["z", "c", "z+c", "z-decode"]), max_size=4, unique=True),
    seed=st.integers(0, 2**63 - 1),
    sessions=st.none() | st.integers(1, 40) | st.lists(st.integers(1, 40), min_size=1),
)
def test_a_resolved_experiment_read_again_is_the_same(
    samples, strength, conditions, seed, sessions
):
    config = Config.model_validate(
        {
            "name": "x",
            "seed": seed,
            "data": {"source": "phantom", "sessions": sessions},
            "generate": {"samples": samples, "strength": strength, "conditions": conditions},
        }
    )
    text = tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))
    assert Config.model_validate(tomllib.loads(text)) == config


@pytest.mark.parametrize("size", ["0", "2.5", "true", '"many"'])
def test_a_batch_is_a_number_of_images_or_auto(tmp_path, size):
    text = f'name = "x"\n[data]\nsource = "phantom"\n[compute]\nbatch_size = {size}\n'
    with pytest.raises(UserError, match=r"compute\.batch_size is .*; it is a number of images"):
        load_config(write(tmp_path, text))
    good = text.replace(f"batch_size = {size}", 'batch_size = "auto"')
    assert load_config(write(tmp_path, good)).compute.batch_size == "auto"


def test_a_folder_whose_name_is_no_utf_8_is_refused(tmp_path):
    file = tmp_path / "caf\udce9" / "x.toml"
    try:
        file.parent.mkdir()
    except OSError:
        pytest.skip("the file system takes no such name")
    file.write_text("name = 'x'\n[data]\nsource = 'folder'\npath = 'data'\n")
    with pytest.raises(UserError, match="whose name is not UTF-8"):
        load_config(file)


def test_every_experiment_is_hashed_by_what_it_holds():
    options = {"entities": "task-images"}
    raw = {"name": "x", "data": {"source": "bids", "path": "d", "options": options}}
    raw |= {"decode": {"z": {"rois": ["early"], "image_size": 32}}}
    one, same = Config.model_validate(raw), Config.model_validate(raw)
    assert hash(one) == hash(same) and one == same
    raw["data"]["options"] = {"entities": "task-other"}
    assert hash(Config.model_validate(raw)) != hash(one)
