"""The field's metrics by named protocol, each with its exact sizes, layers and directions."""

from dataclasses import dataclass
from typing import Literal

from vox2pix.errors import UserError
from vox2pix.evaluation.metrics._retrieval import N_CANDIDATES
from vox2pix.evaluation.metrics.identification import Direction
from vox2pix.vision.images import Resizing

Statistic = Literal[
    "pixcorr", "ssim", "ssim-columns", "two-way", "distance", "retrieval", "captions"
]

VERSION = 2
"""Of the definitions below; raised whenever one of them changes a value."""


@dataclass(frozen=True)
class Metric:
    """One number of a protocol.

    Attributes
    ----------
    name : str
        What the protocol's paper calls it.
    statistic : {"pixcorr", "ssim", "ssim-columns", "two-way", "distance", "retrieval", "captions"}
        Of the images, of the features of ``network``, or of decoded captions; the distance is
        1 - r.
    network : str or None
        ``MODEL:LAYER@SIZE``, as :func:`~vox2pix.evaluation.network` takes it.
    size : int or None
        Of ``pixcorr`` and ``ssim``: height and width in pixels; if None each image is brought
        to the size of its own original.
    resizing : Resizing, optional
        How images are brought to the size; bilinear with antialiasing, or as the network's own
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

    @property
    def definition(self) -> str:
        """What exactly is computed, in words that two evaluations can be compared by."""
        words = [f"{self.statistic} v{VERSION}"]
        if self.network is not None:
            words.append(self.network.rpartition("/")[2])  # a folder's place is not its content
        else:
            words.append(f"{self.size} px" if self.size else "size of the original")
        if self.statistic == "retrieval":
            words.append(f"top {self.top} of {N_CANDIDATES}")
        words.append(self.resizing.describe() if self.resizing else "default resizing")
        return ", ".join(words)


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
        What several samples per stimulus are averaged over: each sample's scores, or the
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


_CLIP = "clip-vit-large-patch14"
_SSIM: tuple[tuple[str, Statistic], ...] = (("SSIM", "ssim"),)
_SSIM_BOTH: tuple[tuple[str, Statistic], ...] = (
    ("SSIM (2-D)", "ssim"),
    ("SSIM (columns)", "ssim-columns"),
)


def _eight(
    sizes: tuple[int, int, int, int],
    efficientnet: str,
    resizing: Resizing,
    pixel_resizing: Resizing,
    similarities: tuple[tuple[str, Statistic], ...] = _SSIM,
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
    pixels: tuple[tuple[str, Statistic], ...] = (("PixCorr", "pixcorr"), *similarities)
    return (
        *(Metric(name, kind, size=425, resizing=pixel_resizing) for name, kind in pixels),
        *(Metric(name, kind, net, resizing=resizing) for name, kind, net in networks),
    )


def _mindeye(antialias: bool) -> tuple[Metric, ...]:
    resizing = Resizing("bilinear", antialias=antialias, first=256)
    return _eight((256, 342, 255, 224), "efficientnet_b1_v2", resizing, resizing)


_TIES = (
    "A tie counts one half, there nothing; a correlation that is not defined counts as 0, there "
    "the mean is NaN."
)
_MINDEYE_NOTES = (
    "Images are brought to 256 pixels first, then to each metric's size, as float tensors, "
    "bilinear {}. SSIM has 2-D windows (scikit-image 0.20 and 0.22). EfficientNet-B1 has "
    "torchvision's second weights (V2). CLIP runs in float32, there in float16. " + _TIES
)
_MINDEYE2_NOTES = (
    " The released notebook scores blends, 0.75 of the enhanced image and 0.25 of the low-level "
    "one: blend images first to compare with its rows."
)
_SMOOTHED = {
    False: "without antialiasing, as torchvision below 0.17 does, which is the one pinned there",
    True: "with antialiasing, as the same scripts do with torchvision 0.17 or newer; published "
    "rows are without",
}


def _mindeye_protocol(release: int, antialias: bool) -> Protocol:
    year = {1: "MindEye (Scotti et al. 2023)", 2: "MindEye2 (Scotti et al. 2024)"}[release]
    return Protocol(
        name=f"mindeye{release}" + "-antialias" * antialias,
        source=year,
        metrics=_mindeye(antialias),
        direction="reconstruction",
        averaging="scores",
        notes=_MINDEYE_NOTES.format(_SMOOTHED[antialias]) + _MINDEYE2_NOTES * (release == 2),
    )


_EIGHT_BIT = Resizing("bilinear", eight_bit=True)
_TAKAGI = Resizing("bilinear", eight_bit=True, crop="torchvision")
_TAKAGI_CLIP = Resizing("bicubic", eight_bit=True, crop="transformers")

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
            notes="Each image is brought to the size of its own original for PixCorr and SSIM.",
        ),
        Protocol(
            name="takagi2023",
            source="Takagi & Nishimoto (CVPR 2023)",
            metrics=(
                Metric("AlexNet early", "two-way", "alexnet:features.5@299", None, _TAKAGI),
                Metric("AlexNet middle", "two-way", "alexnet:features.12@299", None, _TAKAGI),
                Metric("AlexNet late", "two-way", "alexnet:classifier.5@299", None, _TAKAGI),
                Metric("Inception", "two-way", "inception_v3:avgpool@299", None, _TAKAGI),
                Metric("CLIP early", "two-way", f"{_CLIP}:hidden_states.6@224", None, _TAKAGI_CLIP),
                Metric(
                    "CLIP middle", "two-way", f"{_CLIP}:hidden_states.12@224", None, _TAKAGI_CLIP
                ),
                Metric("CLIP final", "two-way", f"{_CLIP}:image_embeds@224", None, _TAKAGI_CLIP),
            ),
            direction="original",
            averaging="correlations",
            notes="Images are resized as 8-bit images by Pillow, the shorter edge to the size, and "
            "their centre is cut out. Correlations are averaged over the samples (five in the "
            "paper) and then compared. Inception's flattened average pooling is read. " + _TIES,
        ),
        Protocol(
            name="brain-diffuser",
            source="Brain-Diffuser (Ozcelik & VanRullen 2023)",
            metrics=_eight(
                (224, 224, 224, 224),
                "efficientnet_b1_v1",
                _EIGHT_BIT,
                Resizing("bicubic", eight_bit=True),
                _SSIM_BOTH,
            ),
            direction="reconstruction",
            averaging="scores",
            notes="Images are resized as 8-bit images by Pillow: bicubic to 425 pixels for PixCorr "
            "and SSIM, bilinear to 224 for the networks, squeezed if they are not square. The "
            "script's call for SSIM has two meanings: SSIM (columns) is that of scikit-image 0.19 "
            "and older, to which its pinned 0.17.2 belongs, SSIM (2-D) that of 0.20 and newer; "
            "which one was printed in the paper is not known. EfficientNet-B1 has torchvision's "
            "first weights (V1). " + _TIES,
        ),
        *(
            _mindeye_protocol(release, antialias)
            for antialias in (False, True)
            for release in (1, 2)
        ),
    )
}
"""By name."""


def protocol(name: str) -> Protocol:
    """Return a protocol by its name."""
    if name not in PROTOCOLS:
        raise UserError(f"There is no protocol {name!r}. Use one of {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]
