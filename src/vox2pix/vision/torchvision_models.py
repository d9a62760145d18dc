"""The networks of the published protocols that torchvision builds, with their weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vox2pix.errors import UserError
from vox2pix.untrusted.safetensors_files import load_safetensors
from vox2pix.untrusted.torch_files import load_tensors
from vox2pix.vision.weights import NetworkUnavailableError

# Weights' name to torchvision's architecture and its settings. The published Inception v3 scales
# its input once more, as its weights came from another library.
_ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "alexnet": ("alexnet", {}),
    "inception_v3": ("inception_v3", {"transform_input": True, "init_weights": False}),
    "efficientnet_b1_v1": ("efficientnet_b1", {}),
    "efficientnet_b1_v2": ("efficientnet_b1", {}),
    "swav_resnet50": ("resnet50", {}),
}
NAMES = tuple(_ARCHITECTURES)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_SWAV_HEADS = ("projection_head.", "prototypes.")


def build(network: str) -> Any:
    """Return a torchvision network with random weights, ready to be read from.

    SwAV's ResNet-50 (Caron et al. 2020) has no classifier: what follows its average pooling is
    the identity.
    """
    import torch

    try:
        from torchvision import models
    except (ImportError, RuntimeError) as error:
        raise NetworkUnavailableError(
            f"Torchvision cannot be imported ({str(error).splitlines()[0]}). Install it with "
            "pip install 'vox2pix[metrics]'; the default protocol and all transformers models "
            "do without it."
        ) from error
    architecture, settings = _ARCHITECTURES[network]
    model = models.get_model(architecture, weights=None, **settings)
    if network == "swav_resnet50":
        model.fc = torch.nn.Identity()
    return model.eval()


def load(network: str, path: Path) -> Any:
    """Return a torchvision network with the weights of a safetensors file or a state dict."""
    model = build(network)
    state = {key.removeprefix("module."): value for key, value in _read_state(path).items()}
    if network == "swav_resnet50":
        state = {key: value for key, value in state.items() if not key.startswith(_SWAV_HEADS)}
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(f"{path} does not hold the weights of {network} ({reason}).") from error
    return model


def _read_state(path: Path) -> Mapping[str, Any]:
    """Read a state dict, running nothing that the file may hold."""
    state = load_safetensors(path) if path.suffix == ".safetensors" else load_tensors(path)
    if not isinstance(state, Mapping):
        raise UserError(f"{path} holds no state dict. Fetch it again.")
    return state
