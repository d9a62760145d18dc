"""The field's metrics by named protocol, each with its exact sizes, layers and directions."""

from dataclasses import dataclass
from typing import Literal

from vox2pix.errors import UserError
from vox2pix.evaluation.identification import Direction
from vox2pix.evaluation.pictures import Resizing

Statistic = Literal["pixcorr", "ssim", "two-way", "distance", "retrieval", "captions"]


@dataclass(frozen=True)
class Metric:
    """One number of a protocol.

    Attributes
    ----------
    name : str
        What the protocol's paper calls it.
    statistic : {"pixcorr", "ssim", "two-way", "distance", "retrieval", "captions"}
        Of the pictures, of the features of ``network``, or of decoded captions; the distance is
        1 - r.
    network : str or None
        ``MODEL:LAYER@SIZE``, as :func:`~vox2pix.evaluation.networks.network` takes it.
    size : int or None
        Of ``pixcorr`` and ``ssim``: height and width in pixels; if None each picture is brought
        to the size of its own original.
    resizing : Resizing, optional
        How pictures are brought to the size; bilinear with antialiasing, or as the network's own
        default has it, if None.
    top : int
        Of retrieval: how many of the nearest are looked at.
    """

    name: str
    statistic: Statistic
    network: str | None = None
    size: int | None = None
    resizing: Resizing | None = None
    top: int = 1

    @property
    def lower_is_better(self) -> bool:
        """Whether a small value is a good one."""
        return self.statistic == "distance"


@dataclass(frozen=True)
class Protocol:
    """A way of evaluating that a paper has published.

    Attributes
    ----------
    name : str
        What the command line calls it.
    source : str
        The paper.
    metrics : tuple of Metric
        In the order of its table.
    direction : {"original", "reconstruction"}
        Which of the two its identification holds fixed; both are reported.
    averaging : {"scores", "correlations"}
        What several samples a stimulus are averaged over: each sample's scores, or the
        correlations before they are compared.
    notes : str
        What is not as in the paper's own code.
    """

    name: str
    source: str
    metrics: tuple[Metric, ...]
    direction: Direction
    averaging: Literal["scores", "correlations"]
    notes: str


@dataclass(frozen=True)
class PublishedRow:
    """A row of a published table, means over NSD subjects 1, 2, 5 and 7.

    Attributes
    ----------
    method : str
        Whose pictures.
    values : tuple of float
        In the order of :data:`COLUMNS`; identification in per cent.
    source : str
        Where it is printed.
    """

    method: str
    values: tuple[float, ...]
    source: str


COLUMNS = (
    "PixCorr",
    "SSIM",
    "AlexNet(2)",
    "AlexNet(5)",
    "Inception",
    "CLIP",
    "EffNet-B",
    "SwAV",
)
"""The eight metrics of the field's table; the last two are distances, lower is better."""

_MINDEYE2_TABLE = "MindEye2 (Scotti et al. 2024), table 1"
PUBLISHED: tuple[PublishedRow, ...] = (
    PublishedRow(
        "Takagi & Nishimoto",
        (0.246, 0.410, 78.9, 85.6, 83.8, 82.1, 0.811, 0.504),
        _MINDEYE2_TABLE,
    ),
    PublishedRow(
        "Brain-Diffuser", (0.273, 0.365, 94.4, 96.6, 91.3, 90.9, 0.728, 0.421), _MINDEYE2_TABLE
    ),
    PublishedRow("MindEye1", (0.319, 0.360, 92.8, 96.9, 94.6, 93.3, 0.648, 0.377), _MINDEYE2_TABLE),
    PublishedRow("MindEye2", (0.322, 0.431, 96.1, 98.6, 95.4, 93.0, 0.619, 0.344), _MINDEYE2_TABLE),
    PublishedRow(
        "Brain-IT", (0.386, 0.486, 98.4, 99.5, 97.3, 96.4, 0.564, 0.320), "Brain-IT (2025)"
    ),
)
"""Printed results, to stand beside one's own under the protocols of :data:`COLUMNS`."""

_CLIP = "clip-vit-large-patch14"


def _eight(
    sizes: tuple[int, int, int, int],
    efficientnet: str,
    resizing: Resizing,
    pixel_resizing: Resizing,
) -> tuple[Metric, ...]:
    """Return the eight; sizes are those of AlexNet, Inception, EfficientNet and the rest."""
    alexnet, inception, efficient, rest = sizes
    networks: tuple[tuple[str, Statistic, str], ...] = (
        ("AlexNet(2)", "two-way", f"alexnet:features.4@{alexnet}"),
        ("AlexNet(5)", "two-way", f"alexnet:features.11@{alexnet}"),
        ("Inception", "two-way", f"inception_v3:avgpool@{inception}"),
        ("CLIP", "two-way", f"{_CLIP}:image_embeds@{rest}"),
        ("EffNet-B", "distance", f"{efficientnet}:avgpool@{efficient}"),
        ("SwAV", "distance", f"swav_resnet50:avgpool@{rest}"),
    )
    return (
        Metric("PixCorr", "pixcorr", size=425, resizing=pixel_resizing),
        Metric("SSIM", "ssim", size=425, resizing=pixel_resizing),
        *(Metric(name, kind, net, resizing=resizing) for name, kind, net in networks),
    )


# torchvision 0.15, which both releases of MindEye install, resizes tensors without smoothing.
_MINDEYE_RESIZING = Resizing("bilinear", antialias=False, first=256)
_MINDEYE = _eight((256, 342, 255, 224), "efficientnet_b1_v2", _MINDEYE_RESIZING, _MINDEYE_RESIZING)
_MINDEYE_NOTES = (
    "Pictures are brought to 256 pixels first, then to each metric's size, bilinear without "
    "antialiasing, as the released code does with the torchvision it was released for. CLIP runs "
    "in float32, there in float16."
)
_BICUBIC = Resizing("bicubic")

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="default",
            source="vox2pix: low-level metrics that need no network",
            metrics=(
                Metric("PixCorr", "pixcorr"),
                Metric("SSIM", "ssim"),
                Metric("pixels", "two-way", "pixels@64"),
                Metric("layout", "two-way", "pixels@8"),
                Metric("edges", "two-way", "edges@64"),
            ),
            direction="original",
            averaging="scores",
            notes="Each picture is brought to the size of its own original for PixCorr and SSIM.",
        ),
        Protocol(
            name="takagi2023",
            source="Takagi & Nishimoto (CVPR 2023)",
            metrics=(
                Metric("AlexNet early", "two-way", "alexnet:features.5@299"),
                Metric("AlexNet middle", "two-way", "alexnet:features.12@299"),
                Metric("AlexNet late", "two-way", "alexnet:classifier.5@299"),
                Metric("Inception", "two-way", "inception_v3:avgpool@299"),
                Metric("CLIP early", "two-way", f"{_CLIP}:hidden_states.6@224", None, _BICUBIC),
                Metric("CLIP middle", "two-way", f"{_CLIP}:hidden_states.12@224", None, _BICUBIC),
                Metric("CLIP final", "two-way", f"{_CLIP}:image_embeds@224", None, _BICUBIC),
            ),
            direction="original",
            averaging="correlations",
            notes="Correlations are averaged over the samples (five in the paper) and then "
            "compared. Inception's flattened average pooling is read. A tie counts one half, "
            "there nothing.",
        ),
        Protocol(
            name="brain-diffuser",
            source="Brain-Diffuser (Ozcelik & VanRullen 2023)",
            metrics=_eight((224, 224, 224, 224), "efficientnet_b1_v1", Resizing(), _BICUBIC),
            direction="reconstruction",
            averaging="scores",
            notes="Resized as floats, there as 8-bit pictures by Pillow; a tie counts one half, "
            "there nothing.",
        ),
        Protocol(
            name="mindeye1",
            source="MindEye (Scotti et al. 2023)",
            metrics=_MINDEYE,
            direction="reconstruction",
            averaging="scores",
            notes=_MINDEYE_NOTES,
        ),
        Protocol(
            name="mindeye2",
            source="MindEye2 (Scotti et al. 2024)",
            metrics=_MINDEYE,
            direction="reconstruction",
            averaging="scores",
            notes=_MINDEYE_NOTES,
        ),
    )
}
"""By name."""


def protocol(name: str) -> Protocol:
    """Return a protocol by its name.

    Raises
    ------
    UserError
        If there is none of that name.
    """
    if name not in PROTOCOLS:
        raise UserError(f"there is no protocol {name!r}; use one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
