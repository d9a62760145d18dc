import pytest

from vox2pix.errors import UserError
from vox2pix.evaluation.protocols import PROTOCOLS, protocol
from vox2pix.evaluation.published import COLUMNS, PUBLISHED, published_under
from vox2pix.vision._network import EDGES, PIXELS, parse_name
from vox2pix.vision.images import Resizing
from vox2pix.vision.weights import WEIGHTS

NAMES = [
    "default",
    "takagi2023",
    "brain-diffuser",
    "mindeye1",
    "mindeye2",
    "mindeye1-antialias",
    "mindeye2-antialias",
]
EIGHT = ("brain-diffuser", "mindeye1", "mindeye2")


def networks(name: str) -> dict[str, str]:
    return {m.name: m.network for m in protocol(name).metrics if m.network}


def test_each_protocol_has_its_name() -> None:
    assert list(PROTOCOLS) == NAMES
    assert all(protocol(name).name == name for name in NAMES)
    with pytest.raises(UserError, match=r"no protocol 'mindeye'. Use one of default, takagi2023"):
        protocol("mindeye")


def test_brain_diffuser_reads_every_network_at_224_pixels() -> None:
    assert networks("brain-diffuser") == {
        "AlexNet(2)": "alexnet:features.4@224",
        "AlexNet(5)": "alexnet:features.11@224",
        "Inception": "inception_v3:avgpool@224",
        "CLIP": "clip-vit-large-patch14:image_embeds@224",
        "EffNet-B": "efficientnet_b1_v1:avgpool@224",
        "SwAV": "swav_resnet50:avgpool@224",
    }


@pytest.mark.parametrize("name", NAMES[3:])
def test_mindeye_reads_each_network_at_its_own_size(name: str) -> None:
    assert networks(name) == {
        "AlexNet(2)": "alexnet:features.4@256",
        "AlexNet(5)": "alexnet:features.11@256",
        "Inception": "inception_v3:avgpool@342",
        "CLIP": "clip-vit-large-patch14:image_embeds@224",
        "EffNet-B": "efficientnet_b1_v2:avgpool@255",
        "SwAV": "swav_resnet50:avgpool@224",
    }
    resizings = {metric.resizing for metric in protocol(name).metrics}
    antialias = name.endswith("-antialias")
    assert resizings == {Resizing("bilinear", antialias=antialias, first=256)}
    assert f"bilinear {'with' if antialias else 'without'} antialiasing" in protocol(name).notes
    assert ("blends" in protocol(name).notes) == name.startswith("mindeye2")


def test_takagi_reads_early_middle_and_late_layers() -> None:
    assert list(networks("takagi2023").values()) == [
        "alexnet:features.5@299",
        "alexnet:features.12@299",
        "alexnet:classifier.5@299",
        "inception_v3:avgpool@299",
        "clip-vit-large-patch14:hidden_states.6@224",
        "clip-vit-large-patch14:hidden_states.12@224",
        "clip-vit-large-patch14:image_embeds@224",
    ]
    assert protocol("takagi2023").direction == "original"
    assert protocol("takagi2023").averaging == "correlations"


@pytest.mark.parametrize("name", EIGHT)
def test_the_fields_table_has_its_columns(name: str) -> None:
    metrics = protocol(name).metrics
    names = list(COLUMNS)
    statistics = ["pixcorr", "ssim", *["two-way"] * 4, *["distance"] * 2]
    if name == "brain-diffuser":
        names[1:2] = ["SSIM (2-D)", "SSIM (columns)"]
        statistics.insert(2, "ssim-columns")
    assert [metric.name for metric in metrics] == names
    assert [metric.statistic for metric in metrics] == statistics
    assert {metric.size for metric in metrics if metric.network is None} == {425}
    assert protocol(name).direction == "reconstruction"
    assert protocol(name).averaging == "scores"


def test_eight_bit_images_and_centre_crops_are_those_of_the_scripts() -> None:
    pixels, *networks_ = {m.resizing for m in protocol("brain-diffuser").metrics[:3]}
    assert not networks_
    assert pixels == Resizing("bicubic", eight_bit=True)
    assert {m.resizing for m in protocol("brain-diffuser").metrics[3:]} == {
        Resizing("bilinear", eight_bit=True)
    }
    for metric in protocol("takagi2023").metrics:
        assert metric.resizing == (
            Resizing("bicubic", eight_bit=True, crop="transformers")
            if metric.name.startswith("CLIP")
            else Resizing("bilinear", eight_bit=True, crop="torchvision")
        )


def test_definitions_tell_all_variants_apart() -> None:
    told = {
        (m.statistic, m.network, m.size, m.resizing, m.top): m.definition
        for p in PROTOCOLS.values()
        for m in p.metrics
    }
    assert len(set(told.values())) == len(told)


def test_the_default_needs_no_network_and_all_others_are_in_the_table_of_weights() -> None:
    assert {parse_name(n).model for n in networks("default").values()} == {PIXELS, EDGES}
    named = {parse_name(n).model for name in NAMES[1:] for n in networks(name).values()}
    assert named == {row.network for row in WEIGHTS}
    for row in WEIGHTS:
        assert row.sha256 in row.file
        assert row.licence
        assert row.source.startswith("https://")


def test_published_rows_fill_the_columns() -> None:
    rows = {row.method: row.values for row in PUBLISHED}
    assert all(len(values) == len(COLUMNS) for values in rows.values())
    assert rows["MindEye2"] == (0.322, 0.431, 96.1, 98.6, 95.4, 93.0, 0.619, 0.344)
    assert rows["Takagi & Nishimoto"][:3] == (0.246, 0.410, 78.9)
    assert all(row.source for row in PUBLISHED)
    assert {row.protocol for row in PUBLISHED} <= set(PROTOCOLS)
    assert "follow-up" in next(row.note for row in PUBLISHED if row.method.startswith("Takagi"))
    blended = [row for row in PUBLISHED if row.method in ("MindEye2", "MindEye2, 1 hour")]
    assert all("blends" in row.note for row in blended)


def test_published_rows_stand_beside_their_own_protocol_only() -> None:
    assert len(published_under("mindeye2")) == len(PUBLISHED)
    assert not any(published_under(name) for name in NAMES if name != "mindeye2")
