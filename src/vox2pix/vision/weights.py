"""Where the networks' published weights come from, and where they are on this machine."""

from dataclasses import dataclass
from pathlib import Path

from vox2pix.errors import UserError
from vox2pix.store import file_hash

_TORCHVISION = "https://download.pytorch.org/models/"
_BSD = "BSD-3-Clause (torchvision)"


class NetworkUnavailableError(UserError):
    """A network cannot be used here for lack of a library or of its weights."""


@dataclass(frozen=True)
class Weights:
    """The published weights of one network.

    The file, or folder, goes by its published name; ``sha256`` are the first digits that its
    publisher states, if any.
    """

    network: str
    file: str
    megabytes: int
    licence: str
    source: str
    sha256: str = ""


def _torchvision(network: str, file: str, megabytes: int, licence: str = _BSD) -> Weights:
    sha256 = file.removesuffix(".pth").rpartition("-")[2]  # its first digits end the name
    return Weights(network, file, megabytes, licence, f"{_TORCHVISION}{file}", sha256)


WEIGHTS: tuple[Weights, ...] = (
    _torchvision("alexnet", "alexnet-owt-7be5be79.pth", 244),
    _torchvision("inception_v3", "inception_v3_google-0cc3c7bd.pth", 109),
    _torchvision(
        "efficientnet_b1_v1",
        "efficientnet_b1_rwightman-bac287d4.pth",
        32,
        f"{_BSD}; converted from timm, Apache-2.0",
    ),
    _torchvision("efficientnet_b1_v2", "efficientnet_b1-c27df63c.pth", 32),
    Weights(
        "swav_resnet50",
        "swav_800ep_pretrain.pth.tar",
        113,
        "CC-BY-NC-4.0",
        "https://dl.fbaipublicfiles.com/deepcluster/swav_800ep_pretrain.pth.tar",
    ),
    Weights(
        "clip-vit-large-patch14",
        "clip-vit-large-patch14",
        1710,
        "MIT (OpenAI)",
        "https://huggingface.co/openai/clip-vit-large-patch14",
    ),
)
"""The table of published weights; two versions of EfficientNet-B1, for protocols differ there."""


def published(network: str) -> Weights | None:
    """Return the row of :data:`WEIGHTS` of a network, if it has one."""
    return next((row for row in WEIGHTS if row.network == network), None)


def find_file(row: Weights, folder: Path | None, download: bool) -> Path:
    """Return the file of a torchvision network's weights.

    Looked for as ``NETWORK.safetensors`` and under its published name in ``folder``, then in
    torch's cache of weights, where it is downloaded to if allowed. A published file must have its
    SHA-256.
    """
    import torch

    cache = Path(torch.hub.get_dir()) / "checkpoints" / row.file
    places = [folder / f"{row.network}.safetensors", folder / row.file] if folder else []
    for path in (*places, cache):
        if path.is_file():
            _check_hash(path, row)
            return path
    if not download:
        raise NetworkUnavailableError(
            f"The weights of {row.network} are not here. Put {row.file} or "
            f"{row.network}.safetensors into the folder that --weights names, or allow "
            f"--download ({row.megabytes} MB)."
        )
    cache.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(
            row.source, str(cache), hash_prefix=row.sha256 or None, progress=False
        )
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"Cannot download {row.source} ({error}). Fetch it elsewhere and name its folder "
            "with --weights."
        ) from error
    return cache


def _check_hash(path: Path, row: Weights) -> None:
    """Refuse a published file that is not what its publisher made."""
    if path.name == row.file and not file_hash(path).startswith(row.sha256):
        raise UserError(
            f"{path} is not the published file: its SHA-256 does not begin with {row.sha256}. "
            f"Fetch it again from {row.source}."
        )
