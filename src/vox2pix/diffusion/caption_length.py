"""Whether captions are longer than the text encoder of a model takes; its weights are not read."""

from collections.abc import Sequence
from dataclasses import dataclass

from vox2pix.diffusion.pipeline_folder import find_pipeline, load_tokenizer, network_config
from vox2pix.errors import UserError

_BLOCK = 1024  # captions at a time


@dataclass(frozen=True)
class CaptionLengths:
    """How many captions, and images with such captions, a model of `n_tokens` cuts."""

    n_tokens: int
    n_captions: int
    n_cut: int
    n_images_cut: int


def caption_lengths(
    name_or_path: str,
    captions: Sequence[Sequence[str]],
    revision: str | None = None,
    local_files_only: bool = False,
) -> CaptionLengths:
    """Count the captions (one sequence per image) that a model's text encoder cuts.

    The other arguments are those of :meth:`vox2pix.diffusion.LatentDiffusion.from_pretrained`.
    Raises UserError if the tokenizer or the text encoder's configuration cannot be read.
    """
    folder = find_pipeline(name_or_path, revision, local_files_only).path
    try:
        tokenizer = load_tokenizer(folder)
        limit = int(network_config(folder, "text_encoder")["max_position_embeddings"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{folder} has no tokenizer or text encoder that can be read ({type(error).__name__}): "
            "fetch or save the pipeline again."
        ) from error
    n_tokens = min(int(tokenizer.model_max_length), limit)
    flat = [(i, text) for i, of_one in enumerate(captions) for text in of_one]
    cut: list[int] = []
    for start in range(0, len(flat), _BLOCK):
        block = flat[start : start + _BLOCK]
        lengths = map(len, tokenizer([text for _, text in block], verbose=False).input_ids)
        cut += [i for (i, _), length in zip(block, lengths, strict=True) if length > n_tokens]
    return CaptionLengths(n_tokens, len(flat), len(cut), len(set(cut)))
