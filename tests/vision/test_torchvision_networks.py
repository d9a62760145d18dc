"""The published networks: torchvision's real architectures with random weights."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from vox2pix.errors import UserError
from vox2pix.evaluation import WEIGHTS, NetworkUnavailableError, Resizing, network
from vox2pix.evaluation.protocols import PROTOCOLS

try:
    # The builds of torchvision for other builds of torch bring Python code that asks for these.
    _OPERATORS = torch.library.Library("torchvision", "FRAGMENT")
    for _name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, _name):
            _OPERATORS.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision
except ImportError:
    pytest.skip(
        "torchvision is not installed; make test-torchvision builds an environment with it",
        allow_module_level=True,
    )

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SHAPES = {
    "alexnet:features.4@224": (192, 27, 27),
    "alexnet:features.11@224": (256, 13, 13),
    "alexnet:features.4@256": (192, 31, 31),
    "alexnet:features.11@256": (256, 15, 15),
    "alexnet:features.5@299": (192, 17, 17),
    "alexnet:features.12@299": (256, 8, 8),
    "alexnet:classifier.5@299": (4096,),
    "inception_v3:avgpool@224": (2048,),
    "inception_v3:avgpool@299": (2048,),
    "inception_v3:avgpool@342": (2048,),
    "efficientnet_b1_v1:avgpool@224": (1280,),
    "efficientnet_b1_v2:avgpool@255": (1280,),
    "swav_resnet50:avgpool@224": (2048,),
}
ARCHITECTURES: dict[str, Callable[[], Any]] = {
    "alexnet": lambda: torchvision.models.alexnet(weights=None),
    "inception_v3": lambda: torchvision.models.inception_v3(
        weights=None, transform_input=True, init_weights=False
    ),
    "efficientnet_b1_v1": lambda: torchvision.models.efficientnet_b1(weights=None),
    "efficientnet_b1_v2": lambda: torchvision.models.efficientnet_b1(weights=None),
    "swav_resnet50": lambda: torchvision.models.resnet50(weights=None),
}


def random_weights(name: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    model = ARCHITECTURES[name]()
    for module in model.modules():  # other than at birth, so that a wrong file would show
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
    return model.state_dict()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    for name in ARCHITECTURES:
        state = random_weights(name)
        if name == "swav_resnet50":  # as published: a data-parallel module with a head
            state = {f"module.{k}": v for k, v in state.items() if not k.startswith("fc.")}
            state["module.projection_head.0.weight"] = torch.zeros(2, 2)
            state["module.prototypes.weight"] = torch.zeros(2, 2)
        save_file({k: v.clone() for k, v in state.items()}, folder / f"{name}.safetensors")
    return folder


def images(n: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).random((n, size, size, 3), dtype=np.float32)


def by_torchvision(name: str, given: np.ndarray, antialias: bool, first: int | None) -> np.ndarray:
    """Read the layer as the published scripts do: torchvision's transforms, a feature extractor."""
    from torchvision.models.feature_extraction import create_feature_extractor
    from torchvision.transforms import v2

    kind, layer, size = re.split("[:@]", name)
    model = ARCHITECTURES[kind]()
    model.load_state_dict(random_weights(kind))
    extractor = create_feature_extractor(model.eval(), return_nodes=[layer])
    steps = [v2.Resize((s, s), antialias=antialias) for s in (first, int(size)) if s]
    transform = v2.Compose([*steps, v2.Normalize(MEAN, STD)])
    with torch.inference_mode():
        batch = transform(torch.from_numpy(given).permute(0, 3, 1, 2))
        return extractor(batch)[layer].flatten(1).numpy()


def test_the_shapes_are_those_of_every_network_that_a_protocol_names() -> None:
    named = {m.network for p in PROTOCOLS.values() for m in p.metrics if m.network}
    others = ("pixels", "edges", "clip-vit-large-patch14")
    assert {name for name in named if not name.startswith(others)} == set(SHAPES)


@pytest.mark.parametrize("name", SHAPES)
def test_layers_have_their_shapes(name: str, weights: Path) -> None:
    features = network(name, weights=weights, device="cpu")(images(1, 32))
    assert features.dtype == np.float32
    assert features.shape == (1, np.prod(SHAPES[name]))
    assert np.ptp(features) > 0


@pytest.mark.parametrize(
    "name",
    [
        "alexnet:features.4@224",
        "alexnet:classifier.5@299",
        "inception_v3:avgpool@342",
        "efficientnet_b1_v2:avgpool@255",
        "swav_resnet50:avgpool@224",
    ],
)
@pytest.mark.parametrize(("antialias", "first"), [(True, None), (False, 256)])
def test_features_are_those_of_torchvisions_own_pipeline(
    name: str, antialias: bool, first: int | None, weights: Path
) -> None:
    given = images(2, 300)
    resizing = Resizing("bilinear", antialias, first)
    features = network(name, weights=weights, resizing=resizing, device="cpu")(given)
    expected = by_torchvision(name, given, antialias, first)
    np.testing.assert_allclose(features, expected, atol=1e-4 * np.abs(expected).max())


def test_a_layer_that_the_next_one_writes_over_is_read_in_time(weights: Path) -> None:
    before = network("alexnet:features.3@64", weights=weights, device="cpu")(images(1, 64))
    after = network("alexnet:features.4@64", weights=weights, device="cpu")(images(1, 64))
    assert before.min() < 0
    np.testing.assert_array_equal(np.maximum(before, 0), after)


def test_the_batch_size_changes_nothing(weights: Path) -> None:
    given = images(5, 64)
    name = "swav_resnet50:avgpool@64"
    whole = network(name, weights=weights, device="cpu", batch_size=5)(given)
    for batch_size in (1, 2):
        some = network(name, weights=weights, device="cpu", batch_size=batch_size)(given)
        np.testing.assert_allclose(some, whole, atol=1e-4)
    assert whole.max() > 10


def test_the_table_names_the_files_that_torchvision_publishes() -> None:
    chosen = {
        "alexnet": torchvision.models.AlexNet_Weights.IMAGENET1K_V1,
        "inception_v3": torchvision.models.Inception_V3_Weights.IMAGENET1K_V1,
        "efficientnet_b1_v1": torchvision.models.EfficientNet_B1_Weights.IMAGENET1K_V1,
        "efficientnet_b1_v2": torchvision.models.EfficientNet_B1_Weights.IMAGENET1K_V2,
    }
    rows = {row.network: row for row in WEIGHTS}
    for name, published in chosen.items():
        assert rows[name].source == published.url
        assert rows[name].source.endswith(f"-{rows[name].sha256}.pth")
        assert rows[name].megabytes == pytest.approx(published.meta["_file_size"] * 1.048576, abs=1)


def test_weights_of_another_network_are_refused(weights: Path, tmp_path: Path) -> None:
    path = tmp_path / "alexnet.safetensors"
    path.write_bytes((weights / "swav_resnet50.safetensors").read_bytes())
    with pytest.raises(UserError, match=r"alexnet\.safetensors does not hold the weights of alexn"):
        network("alexnet:features.4@224", weights=tmp_path)
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot be read as weights"):
        network("alexnet:features.4@224", weights=tmp_path)


def test_a_published_name_must_hold_the_published_file(tmp_path: Path) -> None:
    torch.save(random_weights("alexnet"), tmp_path / "alexnet-owt-7be5be79.pth")
    with pytest.raises(UserError, match="SHA-256 does not begin with 7be5be79"):
        network("alexnet:features.4@224", weights=tmp_path)


def test_a_state_dict_of_torch_is_read_without_running_it(tmp_path: Path) -> None:
    state = {f"module.{k}": v for k, v in random_weights("swav_resnet50").items() if "fc." not in k}
    path = tmp_path / "swav_800ep_pretrain.pth.tar"
    torch.save(state, path)
    features = network("swav_resnet50:avgpool@64", weights=tmp_path, device="cpu")(images(1, 64))
    assert features.shape == (1, 2048)
    torch.save({"run": Path("anything")}, path)
    with pytest.raises(UserError, match="cannot be read as weights"):
        network("swav_resnet50:avgpool@64", weights=tmp_path)


def test_weights_that_are_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(NetworkUnavailableError, match=r"or allow --download \(244 MB\)"):
        network("alexnet:features.4@224")
    asked = []

    def offline(url: str, path: str, **options: object) -> None:
        asked.append((url, options["hash_prefix"]))
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(UserError, match=r"Cannot download https.*no network"):
        network("alexnet:features.4@224", download=True)
    assert asked == [(WEIGHTS[0].source, "7be5be79")]


def test_a_layer_and_a_size_that_are_not_there(weights: Path) -> None:
    with pytest.raises(UserError, match="lacks its layer or its size"):
        network("alexnet@224", weights=weights)
    with pytest.raises(UserError, match=r"no features of layer 'features\.40' at 224 pixels"):
        network("alexnet:features.40@224", weights=weights)
    with pytest.raises(UserError, match="at 8 pixels"):
        network("alexnet:features.12@8", weights=weights)


@pytest.mark.parametrize(
    ("protocol", "name"),
    [
        ("takagi2023", "alexnet:features.5@299"),
        ("takagi2023", "inception_v3:avgpool@299"),
        ("brain-diffuser", "alexnet:features.4@224"),
        ("brain-diffuser", "efficientnet_b1_v1:avgpool@224"),
    ],
)
def test_features_of_8_bit_images_are_those_of_the_scripts(
    protocol: str, name: str, weights: Path
) -> None:
    from torchvision import transforms as steps
    from torchvision.models.feature_extraction import create_feature_extractor

    metric = next(m for m in PROTOCOLS[protocol].metrics if m.network == name)
    image = np.round(images(1, 400)[0, :333] * 255).astype(np.uint8)
    kind, layer, text = re.split("[:@]", name)
    size = int(text)
    resize = (
        [steps.Resize(size), steps.CenterCrop(size)]
        if protocol == "takagi2023"
        else [steps.Resize((size, size))]
    )
    transform = steps.Compose([*resize, steps.ToTensor(), steps.Normalize(MEAN, STD)])
    model = ARCHITECTURES[kind]()
    model.load_state_dict(random_weights(kind))
    extractor = create_feature_extractor(model.eval(), return_nodes=[layer])
    with torch.inference_mode():
        expected = extractor(transform(Image.fromarray(image))[None])[layer].flatten(1).numpy()
    encode = network(name, weights=weights, resizing=metric.resizing, device="cpu")
    features = encode(image[None] / np.float32(255))
    np.testing.assert_allclose(features, expected, atol=1e-6 * np.abs(expected).max())
