"""A target of your own.

A target is something that is decoded from the brain and that the diffusion model can take. This
one is a mosaic: the mean colours of a grid of tiles. It enters the model where z does, at the
start of the denoising. Once it is registered, experiments may name it in place of z
(`[decode.mosaic]`), and `vox2pix.run`, `vox2pix.plan`, `vox2pix.encode`, the audit and the report
treat it as they treat z. Here the mosaic is decoded and drawn without c, so that it decides where
which colour is, and the objects are left to chance.

Printed: the mean correlation of the decoded colours with the true ones over test images; and how
often an image that is drawn from the mosaic is nearer to its own original than to another one, by
pixels (one half is chance).
"""

import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
from pydantic import Field

import vox2pix
import vox2pix.targets
from vox2pix.linear import pearson_r


@vox2pix.targets.register
class Mosaic(vox2pix.Target):
    """Mean colours (tiles, tiles, 3) of a grid of tiles."""

    name = "mosaic"
    port = "start"  # where the model takes it; z enters there too, so that they exclude each other
    computed_from = "image"
    carries = "layout"
    description = "the mosaic, the mean colours of the tiles of an image"

    tiles: int = Field(default=4, ge=1, description="tiles along each side")

    def shape(self, sizes):
        return (self.tiles, self.tiles, 3)

    def rows(self, model, subject, cache, **_):
        # A row is cached under the pixels that it is computed from, and under the settings.
        return vox2pix.targets.FeatureRows(
            vox2pix.targets.feature_folder(cache, self.name, model, {"tiles": self.tiles}),
            read=lambda ids: subject.images(ids, size=8 * self.tiles),
            key=lambda stimulus_id, image: vox2pix.targets.content_key(image.tobytes()),
            compute=lambda ids, images: self._means(images),
        )

    def _means(self, images):
        return images.reshape(-1, self.tiles, 8, self.tiles, 8, 3).mean((2, 4))

    def images(self, model, values, batch_size="auto"):
        side = model.image_size // self.tiles
        return values.repeat(side, axis=1).repeat(side, axis=2).clip(0, 1)

    def port_input(self, model, values, **how):
        return vox2pix.targets.encode_start(model, self.images(model, values), **how)


folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
sizes = {"sessions": 4, "trials_per_session": 240, "n_shared": 40, "n_early": 500}
subject = vox2pix.open_nsd(vox2pix.simulate(folder / "brain", **sizes, n_ventral=50), rois="early")
model = vox2pix.LatentDiffusion.from_pretrained("phantom", device="cpu")
train, test = subject.train, subject.test
target = Mosaic(tiles=8)

rows = target.rows(model, subject, folder / "cache")
values = rows.load(train.stimulus_ids).reshape(-1, 8 * 8 * 3)
decoder = vox2pix.RidgeDecoder().fit(train.betas(), values, stimuli=train.stimulus_rows)
decoded = decoder.predict(test.mean_betas())
truth = rows.load(test.stimulus_ids).reshape(decoded.shape)
print(f"correlation of a colour: {pearson_r(truth, decoded).mean():.2f}")

mosaic = decoded.reshape(-1, 8, 8, 3)
drawn = vox2pix.reconstruct(
    model,
    {"mosaic": mosaic},
    targets={"mosaic": target},
    seeds=vox2pix.image_seeds(0, test.stimulus_ids, 1),
    settings=vox2pix.ReconstructionSettings(strength=0.6, steps=20, samples=1),
)[:, 0]
seen = subject.images(test.stimulus_ids, size=model.image_size)
score = vox2pix.two_way(seen.reshape(len(seen), -1), drawn.reshape(len(seen), -1))
print(f"two-way identification: {score.mean():.3f}")

columns = {"seen": seen, "mosaic": target.images(model, mosaic), "drawn": drawn}
figure, panels = plt.subplots(3, 8, figsize=(8, 3.2), layout="constrained")
for line, (name, images) in zip(panels, columns.items(), strict=True):
    line[0].set_ylabel(name)
    for panel, image in zip(line, images, strict=False):
        panel.imshow(image)
        panel.set(xticks=[], yticks=[])
figure.savefig(folder / "own_target.png", dpi=100)
