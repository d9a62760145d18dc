"""Tokenizer and contrastive encoders; the text tower conditions the U-Net.

A contrastive loss alone lets captions lose the kinds of the second and third object, above all in
the mean over several captions. A slot head that reads all objects from the states that the U-Net
will see, trained beside it and then dropped, keeps them there.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPConfig, CLIPModel, CLIPTextModel, CLIPTokenizer

from tools.phantom_model.scene_sets import (
    IMAGE_SIZE,
    TRAINING_SCENES,
    Renders,
    cached,
    training_scene,
)
from tools.phantom_model.training import Place, Schedule, fit
from vox2pix.phantom.scenes import COLOURS, KINDS, Scene, captions
from vox2pix.store import write_json

MAX_TOKENS = 32
CORPUS_SCENES = 4_000  # whose captions the tokenizer's vocabulary is learned from
WIDTH = 96
SLOTS = 3
SCHEDULE = Schedule(steps=600, decay_steps=400, rate=1e-3)
HEAD_FACTOR = 2.0  # rate of the slot head over that of the towers
PAIRS, MEANS = 64, 48  # scenes a step with one caption, and with the mean of all
IMAGE_PROCESSOR = {
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_processor_type": "CLIPImageProcessor",
    "image_std": [0.5, 0.5, 0.5],
    "resample": 3,
    "rescale_factor": 1 / 255,
    "size": {"height": IMAGE_SIZE, "width": IMAGE_SIZE},
}
"""What the image tower takes, in the form of transformers: pixels in [-1, 1]."""

_START, _END = "<|startoftext|>", "<|endoftext|>"


def build_tokenizer(folder: Path, corpus: Iterable[str]) -> CLIPTokenizer:
    """Write CLIP's tokenizer files with a vocabulary learned from ``corpus``; return it.

    Every byte is in the vocabulary, so that words the scenes never use are spelt out.
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
                "hidden_size": WIDTH,
                "intermediate_size": 4 * WIDTH,
                "num_hidden_layers": 3,
                "num_attention_heads": 4,
                "max_position_embeddings": MAX_TOKENS,
                "projection_dim": 64,
                "bos_token_id": tokenizer.bos_token_id,
                "eos_token_id": tokenizer.eos_token_id,
                "pad_token_id": tokenizer.pad_token_id,
            },
            vision_config={
                "image_size": IMAGE_SIZE,
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


class SlotHead(nn.Module):
    """Reads kind and colour of each of three objects, or "none", from a text tower's states."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(SLOTS, width))
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.hidden = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU())
        self.kind = nn.Linear(2 * width, len(KINDS) + 1)
        self.colour = nn.Linear(2 * width, len(COLOURS) + 1)

    def forward(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits of kinds and colours, (n, 3, classes), of states (n, tokens, width)."""
        queries = self.queries.expand(len(states), -1, -1)
        read, _ = self.attention(queries, states, states, need_weights=False)
        features = self.hidden(read)
        return self.kind(features), self.colour(features)


def slot_targets(some: Sequence[Scene]) -> tuple[Tensor, Tensor]:
    """Return the classes of kinds and of colours, (n, 3); the last class is "none"."""
    kinds = torch.full((len(some), SLOTS), len(KINDS))
    colours = torch.full((len(some), SLOTS), len(COLOURS))
    for row, shown in enumerate(some):
        for slot, thing in enumerate(shown.objects):
            kinds[row, slot] = list(KINDS).index(thing.kind)
            colours[row, slot] = list(COLOURS).index(thing.colour)
    return kinds, colours


def slot_loss(logits: tuple[Tensor, Tensor], targets: tuple[Tensor, Tensor]) -> Tensor:
    """Return the cross-entropy of kinds plus that of colours."""
    each = [
        functional.cross_entropy(found.float().flatten(0, 1), right.flatten())
        for found, right in zip(logits, targets, strict=True)
    ]
    return each[0] + each[1]


class _Towers(nn.Module):
    def __init__(self, pair: CLIPModel) -> None:
        super().__init__()
        self.pair = pair
        self.head = SlotHead()


def train(out: Path, renders: Renders, schedule: Schedule, place: Place) -> int:
    """Train tokenizer and encoders; write ``tokenizer``, ``encoders`` and ``text_encoder``."""
    corpus = (text for i in range(CORPUS_SCENES) for text in captions(training_scene(i)))
    tokenizer = build_tokenizer(out / "tokenizer", corpus)
    towers = _Towers(build_encoders(tokenizer))
    pair = towers.pair
    # Plain matrix products: on CPUs the fused kernel's backward takes three times as long.
    pair.set_attn_implementation("eager")

    def loss(step: int, rng: np.random.Generator) -> Tensor:
        indices = rng.integers(0, len(renders.images), PAIRS + MEANS)
        shown = [training_scene(int(i)) for i in indices]
        texts = [str(rng.choice(captions(s))) for s in shown[:PAIRS]]
        texts += [text for s in shown[PAIRS:] for text in captions(s)]
        text = pair.text_model(input_ids=tokenize(tokenizer, texts).to(place.device))
        images, _ = renders.batch(indices[:PAIRS], place.device)
        vision = pair.vision_model(pixel_values=images).pooler_output
        contrast = contrastive_loss(
            pair.visual_projection(vision).float(),
            pair.text_projection(text.pooler_output[:PAIRS]).float(),
            pair.logit_scale,
        )
        states = text.last_hidden_state
        means = states[PAIRS:].unflatten(0, (MEANS, -1)).mean(1)
        kinds, colours = (t.to(place.device) for t in slot_targets(shown))
        return contrast + slot_loss(
            towers.head(torch.cat([states[:PAIRS], means])), (kinds, colours)
        )

    steps = fit("text_tower", towers, loss, schedule, place, fast={"head.": HEAD_FACTOR})
    pair.half().save_pretrained(out / "encoders")
    write_json(out / "encoders" / "preprocessor_config.json", IMAGE_PROCESSOR)
    _text_encoder(pair).half().save_pretrained(out / "text_encoder")
    return steps


def contrastive_loss(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """Return CLIP's symmetric loss of paired embeddings, shape (n, width)."""
    images, texts = functional.normalize(images, dim=-1), functional.normalize(texts, dim=-1)
    logits = scale.exp() * images @ texts.T
    right = torch.arange(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, right) + functional.cross_entropy(logits.T, right)) / 2


def _text_encoder(pair: CLIPModel) -> CLIPTextModel:
    text = CLIPTextModel(pair.config.text_config)
    source = {k: v for k, v in pair.state_dict().items() if k.startswith("text_model.")}
    names = text.state_dict()
    text.load_state_dict({k: source[k if k in source else f"text_model.{k}"] for k in names})
    return text


def tokenize(tokenizer: CLIPTokenizer, texts: Sequence[str]) -> Tensor:
    """Return padded token ids, shape (n, 32)."""
    tokens = tokenizer(list(texts), padding="max_length", truncation=True, return_tensors="pt")
    return tokens.input_ids


class TextStates:
    """The frozen text tower of a pipeline folder."""

    def __init__(self, folder: Path) -> None:
        self.encoder = CLIPTextModel.from_pretrained(
            folder / "text_encoder", dtype=torch.float32
        ).eval()
        self.tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return the states that condition the U-Net: float32, (n, tokens, width)."""
        return self.encoder(tokenize(self.tokenizer, texts)).last_hidden_state

    def means(self, some: Sequence[Scene]) -> Tensor:
        """Return the mean states over all captions of each scene."""
        every = self([text for s in some for text in captions(s)])
        return every.unflatten(0, (len(some), -1)).mean(1)

    def of_training_scenes(self, path: Path, n: int = TRAINING_SCENES) -> NDArray[np.float16]:
        """Embed all captions of the training scenes once: (scenes, captions, tokens, width)."""

        def rows(start: int, stop: int) -> NDArray[np.float16]:
            texts = [text for i in range(start, stop) for text in captions(training_scene(i))]
            return self(texts).unflatten(0, (stop - start, -1)).half().numpy()

        return cached(path, n, rows)
