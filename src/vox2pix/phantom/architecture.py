"""The phantom's networks: what Stable Diffusion is made of, small enough for a laptop."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from vox2pix.phantom.scenes import BACKGROUNDS, COLOURS, KINDS

PICTURE_SIZE = 64
LATENT_CHANNELS = 8
MAX_TOKENS = 32
TEXT_WIDTH = 96
_START, _END = "<|startoftext|>", "<|endoftext|>"


def build_autoencoder() -> AutoencoderKL:
    """Return an untrained autoencoder: 64 x 64 pictures to 8 x 8 x 8 latents (factor 8)."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 64, 64),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        sample_size=PICTURE_SIZE,
        mid_block_add_attention=False,
    )


def build_unet() -> UNet2DConditionModel:
    """Return an untrained U-Net over 8 x 8 latents, conditioned on text by cross-attention.

    It attends on the 4 x 4 grid only: at the finest grid attention doubles the time of a step.
    """
    return UNet2DConditionModel(
        sample_size=PICTURE_SIZE // 8,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(128, 192),
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def build_scheduler() -> DDIMScheduler:
    """Return the noise schedule that the U-Net is trained on.

    A cosine schedule (Nichol & Dhariwal 2021) and the v target (Salimans & Ho 2022): an 8 x 8
    latent drowns sooner than the 64 x 64 latents that Stable Diffusion's schedule was made for.
    """
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def build_tokenizer(folder: Path, corpus: Iterable[str]) -> CLIPTokenizer:
    """Write CLIP's tokenizer files with a vocabulary learned from ``corpus``; return it.

    Every byte is in the vocabulary, so that words the scenes never use are spelt out.

    Parameters
    ----------
    folder : Path
        Where ``vocab.json`` and ``merges.txt`` go; made if it is missing.
    corpus : iterable of str
        Captions.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    merges = [tuple(merge) for merge in json.loads(tokenizer.to_str())["model"]["merges"]]
    pieces = alphabet + [letter + "</w>" for letter in alphabet] + ["".join(m) for m in merges]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys([*pieces, _START, _END]))}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    lines = ["#version: 0.2", *(" ".join(merge) for merge in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")
    made = CLIPTokenizer(
        str(folder / "vocab.json"),
        str(folder / "merges.txt"),
        model_max_length=MAX_TOKENS,
        pad_token=_END,
    )
    made.save_pretrained(folder)
    return made


def build_encoders(tokenizer: CLIPTokenizer) -> CLIPModel:
    """Return an untrained contrastive pair of encoders (CLIP, Radford et al. 2021).

    Its text tower becomes the diffusion model's text encoder, as in Stable Diffusion; its image
    tower serves evaluation.
    """
    return CLIPModel(
        CLIPConfig(
            text_config={
                "vocab_size": len(tokenizer),
                "hidden_size": TEXT_WIDTH,
                "intermediate_size": 4 * TEXT_WIDTH,
                "num_hidden_layers": 3,
                "num_attention_heads": 4,
                "max_position_embeddings": MAX_TOKENS,
                "projection_dim": 64,
                "bos_token_id": tokenizer.bos_token_id,
                "eos_token_id": tokenizer.eos_token_id,
                "pad_token_id": tokenizer.pad_token_id,
            },
            vision_config={
                "image_size": PICTURE_SIZE,
                "patch_size": 8,
                "hidden_size": 128,
                "intermediate_size": 512,
                "num_hidden_layers": 4,
                "num_attention_heads": 4,
                "projection_dim": 64,
            },
            projection_dim=64,
        )
    )


class Judge(nn.Module):
    """A convolutional classifier of a scene's background and of its main object.

    It has seen rendered scenes only, never a picture that the diffusion model drew.
    """

    heads: ClassVar = {
        "kind": tuple(KINDS),
        "colour": tuple(COLOURS),
        "background": tuple(BACKGROUNDS),
    }

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for narrow, wide in ((3, 24), (24, 48), (48, 96), (96, 128)):
            layers += [
                nn.Conv2d(narrow, wide, 3, padding=1),
                nn.BatchNorm2d(wide),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
        self.trunk = nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 4 * 4, 192), nn.ReLU())
        self.out = nn.ModuleDict({n: nn.Linear(192, len(c)) for n, c in self.heads.items()})

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """Return the logits of each head for pictures in [0, 1], shape (n, 3, 64, 64)."""
        features = self.trunk(2 * pictures - 1)
        return {name: head(features) for name, head in self.out.items()}

    @torch.inference_mode()
    def classify(self, pictures: Tensor) -> list[dict[str, str]]:
        """Name each picture's main kind and colour, and its background."""
        logits = self(pictures)
        return [
            {name: self.heads[name][int(logits[name][i].argmax())] for name in self.heads}
            for i in range(len(pictures))
        ]


class LatentJudge(nn.Module):
    """A convolutional network that names the kind of object in each cell of a latent.

    It has seen the latents of rendered scenes only. The last of its classes is "no object".
    """

    def __init__(self, width: int = 96, depth: int = 3) -> None:
        super().__init__()
        self.first = nn.Conv2d(LATENT_CHANNELS, width, 3, padding=1)
        self.blocks = nn.ModuleList(_residual_block(width) for _ in range(depth))
        self.last = nn.Conv2d(width, len(KINDS) + 1, 1)

    def forward(self, latents: Tensor) -> Tensor:
        """Return the logits of each cell, shape (n, kinds + 1, height, width)."""
        features = self.first(latents)
        for block in self.blocks:
            features = features + block(features)
        logits: Tensor = self.last(functional.silu(features))
        return logits


def _residual_block(width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(2):
        layers += [nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1)]
    return nn.Sequential(*layers)
