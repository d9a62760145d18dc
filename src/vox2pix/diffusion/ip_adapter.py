"""IP-Adapter: layers by which a U-Net attends to the embedding of an image beside the text."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.attention_processor import IPAdapterAttnProcessor, IPAdapterAttnProcessor2_0
from diffusers.utils import logging
from numpy.typing import NDArray

from vox2pix.errors import UserError
from vox2pix.untrusted.safetensors_files import check_safetensors, load_safetensors

_N_TOKENS = 4  # that a base IP-Adapter makes of an embedding
_PROJECTION, _LAYERS = "image_proj.", "ip_adapter."

# Widths of the embeddings that published adapters take, for planning before a file is there
# (h94/IP-Adapter on the Hugging Face Hub): those of OpenCLIP's ViT-H/14 and ViT-bigG/14.
_PUBLISHED_WIDTHS = {
    "ip-adapter_sd15": 1024,
    "ip-adapter_sd15_light": 1024,
    "ip-adapter_sdxl": 1280,
    "ip-adapter_sdxl_vit-h": 1024,
}


@dataclass(frozen=True)
class IPAdapter:
    """An IP-Adapter (Ye et al. 2023), by which a U-Net attends to the embedding of an image.

    Each cross-attention gets a second set of keys and values, of four tokens that are projected
    from the embedding; its output, times the scale, is added to that of the text.

    Attributes
    ----------
    file : str or Path
        Its weights in safetensors, such as ``ip-adapter_sd15.safetensors``. It must take the
        embedding alone: adapters that look at patches or faces ("plus", "full", "faceid") are
        refused.
    scale : float
        Weight of the image beside the text, 0 or more.
    """

    file: str | Path
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a scale that cannot be."""
        if not 0 <= self.scale < float("inf"):
            raise UserError(f"The scale of an IP-Adapter is 0 or more, not {self.scale}.")


class AdapterPort:
    """The image port of a U-Net with the layers of an IP-Adapter, which it gets here.

    Raises UserError for a file that holds no such adapter, or that of another model.
    """

    def __init__(self, unet: Any, adapter: IPAdapter, is_plain: bool, is_planned: bool) -> None:
        path = Path(adapter.file).expanduser()
        tensors = _planned_tensors(unet, path) if is_planned else _tensors(path)
        self.width = int(tensors[f"{_PROJECTION}proj.weight"].shape[1])
        parts = {
            part.rstrip("."): {
                name.removeprefix(part): t for name, t in tensors.items() if name.startswith(part)
            }
            for part in (_PROJECTION, _LAYERS)
        }
        try:
            with _silent():  # it warns of a cast, which is none
                unet._load_ip_adapter_weights(parts, low_cpu_mem_usage=False)
        except (RuntimeError, KeyError) as error:
            raise UserError(
                f"The IP-Adapter {path} does not fit the U-Net "
                f"({str(error).strip().splitlines()[0]}); take the one of the model's family."
            ) from error
        if is_plain:
            unet.set_attn_processor({n: _plain(p) for n, p in unet.attn_processors.items()})
        unet.requires_grad_(False)
        self._unet, self._scale = unet, adapter.scale
        kinds = (IPAdapterAttnProcessor, IPAdapterAttnProcessor2_0)
        self._layers = [p for p in unet.attn_processors.values() if isinstance(p, kinds)]

    def prepared(self, embeddings: torch.Tensor, seeds: NDArray[np.int64]) -> torch.Tensor:
        """Return embeddings as they are."""
        return embeddings

    def arguments(self, prepared: torch.Tensor | None, n: int) -> dict[str, Any]:
        """Return the embeddings that are projected, or at scale 0 any for no image.

        Embeddings of zeros would not be neutral: the tokens that are made of them are not zero.
        """
        for layer in self._layers:
            layer.scale = [0.0 if prepared is None else self._scale]
        if prepared is None:
            prepared = torch.zeros((n, self.width), device=self._unet.device)
        return {"added_cond_kwargs": {"image_embeds": [prepared[:, None]]}}


@contextmanager
def _silent() -> Iterator[None]:
    """Let diffusers say only what is an error."""
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)


def _tensors(path: Path) -> Mapping[str, torch.Tensor]:
    """Read the weights of a base IP-Adapter."""
    check_adapter(path)
    tensors: dict[str, torch.Tensor] = load_safetensors(path)
    spoiled = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if spoiled:
        raise UserError(
            f"{path}: {len(spoiled)} tensors of the weights hold NaN or infinite numbers (the "
            f"first is {spoiled[0]}); fetch the file again."
        )
    return tensors


def _planned_tensors(unet: Any, path: Path) -> Mapping[str, torch.Tensor]:
    """Return tensors without memory: of the file's shapes, or of a published adapter's."""
    if path.is_file() or path.stem not in _PUBLISHED_WIDTHS:
        shapes = check_adapter(path)
    else:
        shapes = adapter_shapes(unet, _PUBLISHED_WIDTHS[path.stem])
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def check_adapter(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a base IP-Adapter's tensors by name; refuse any other file."""
    if not path.is_file():
        raise UserError(
            f"There is no IP-Adapter {path}; give the path of a safetensors file such as "
            "ip-adapter_sd15.safetensors."
        )
    shapes = {name: shape for name, (_, shape) in check_safetensors(path).items()}
    if not any(name.startswith(_LAYERS) for name in shapes):
        raise UserError(f"{path} holds no IP-Adapter (no tensor {_LAYERS}...); give another file.")
    if len(shapes.get(f"{_PROJECTION}proj.weight", ())) != 2:
        raise UserError(
            f"{path} is an IP-Adapter that takes more than the embedding of an image (such as "
            "plus, full or faceid); use a base one such as ip-adapter_sd15.safetensors."
        )
    return shapes


def adapter_shapes(unet: Any, width: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors of a base IP-Adapter for embeddings of a width, by name."""
    context = int(unet.config.cross_attention_dim)
    shapes: dict[str, tuple[int, ...]] = {
        f"{_PROJECTION}proj.weight": (_N_TOKENS * context, width),
        f"{_PROJECTION}proj.bias": (_N_TOKENS * context,),
        f"{_PROJECTION}norm.weight": (context,),
        f"{_PROJECTION}norm.bias": (context,),
    }
    attentions = [n for n in unet.attn_processors if n.endswith("attn2.processor")]
    for place, name in enumerate(attentions):
        keys = unet.get_submodule(name.removesuffix(".processor")).to_k
        for kind in ("k", "v"):  # numbered as among all attentions, of which every other is one
            shapes[f"{_LAYERS}{2 * place + 1}.to_{kind}_ip.weight"] = (keys.out_features, context)
    return shapes


def _plain(processor: Any) -> Any:
    """Return a layer of an adapter that computes by plain matrix products; others as they are."""
    if not isinstance(processor, IPAdapterAttnProcessor2_0):
        return processor
    made = IPAdapterAttnProcessor(
        processor.hidden_size, processor.cross_attention_dim, processor.num_tokens
    )
    made.load_state_dict(processor.state_dict())
    return made.to(processor.to_k_ip[0].weight.device, processor.to_k_ip[0].weight.dtype)
