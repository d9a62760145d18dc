"""From texts to what the U-Net attends to: one text encoder, or the two of Stable Diffusion XL."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from vox2pix.errors import UserError


class TextEncoders:
    """The text encoders of a model with their tokenizers, None where no captions are embedded.

    One encoder gives its last hidden states (n_tokens, width). Of two (Stable Diffusion XL;
    Podell et al. 2023) the second last ones are joined along their width, and one row more is the
    pooled embedding of the second encoder, padded by zeros: together they are all that the U-Net
    takes of a text. Raises UserError if they do not fit the U-Net or each other.
    """

    def __init__(
        self, encoders: Sequence[Any], tokenizers: Sequence[Any], expected_width: int
    ) -> None:
        self.encoders, self.tokenizers = tuple(encoders), tuple(tokenizers)
        width = sum(int(encoder.config.hidden_size) for encoder in encoders)
        if width != expected_width:
            raise UserError(
                f"The U-Net attends to text of width {expected_width} and the text encoder's is "
                f"{width}; use the components of one model."
            )
        for encoder, tokenizer in zip(encoders, tokenizers, strict=True):
            vocab_size = encoder.config.vocab_size
            if tokenizer is not None and len(tokenizer) > vocab_size:
                raise UserError(
                    f"The tokenizer has {len(tokenizer)} tokens and the text encoder "
                    f"{vocab_size}; use the components of one model."
                )
        self.width = width
        self.pooled_width = int(encoders[1].config.projection_dim) if len(encoders) > 1 else 0

    @property
    def n_tokens(self) -> int:
        """Tokens a text is padded or cut to."""
        limits = [int(encoder.config.max_position_embeddings) for encoder in self.encoders]
        # a tokenizer without a stated length says 1e30
        limits += [int(t.model_max_length) for t in self.tokenizers if t is not None]
        return min(limits)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and width of the conditioning by one text."""
        return (self.n_tokens + (self.pooled_width > 0), self.width)

    def embed(self, texts: list[str]) -> torch.Tensor:
        """Return the conditioning (n, rows, width), float32, by texts."""
        device = self.encoders[0].device
        tokens = (
            tokenizer(
                texts,
                padding="max_length",
                max_length=self.n_tokens,
                truncation=True,
                return_tensors="pt",
            ).input_ids.to(device)
            for tokenizer in self.tokenizers
        )
        return self.encode(tokens)

    def encode(self, tokens: Iterable[torch.Tensor]) -> torch.Tensor:
        """Return the conditioning by tokens (n, n_tokens), one array for each encoder."""
        if not self.pooled_width:
            states: torch.Tensor = self.encoders[0](next(iter(tokens))).last_hidden_state
            return states.float()
        outputs = [
            encoder(ids, output_hidden_states=True)
            for encoder, ids in zip(self.encoders, tokens, strict=True)
        ]
        states = torch.cat([output.hidden_states[-2] for output in outputs], dim=-1).float()
        pooled = outputs[1].text_embeds.float()
        row = torch.nn.functional.pad(pooled, (0, self.width - self.pooled_width))
        return torch.cat([states, row[:, None]], dim=1)

    def arguments(
        self, conditioning: torch.Tensor, image_shape: tuple[int, int]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the states that the U-Net attends to, and what else it takes of a text.

        Stable Diffusion XL is also told the height and width of an image that was not cropped.
        """
        if not self.pooled_width:
            return conditioning, {}
        pooled = conditioning[:, -1, : self.pooled_width]
        sizes = torch.tensor([*image_shape, 0, 0, *image_shape], device=conditioning.device)
        return conditioning[:, :-1], {
            "text_embeds": pooled,
            "time_ids": sizes.expand(len(conditioning), -1).to(conditioning.dtype),
        }


def as_tuple(part: Any) -> tuple[Any, ...]:
    """Return one component, or several, as a tuple."""
    return tuple(part) if isinstance(part, tuple | list) else (part,)
