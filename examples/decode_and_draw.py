"""Decode and draw.

A simulated subject looks at 320 images of drawn scenes, each shown three times. One ridge
regression predicts z, the latent of an image (its layout), from early visual voxels. Another one
predicts c, the embedding of its captions (its content), from ventral voxels. The diffusion model
draws the test images from z, from c, and from both.

Printed: how often an image is nearer to its own original than to another one, once by its pixels
and once by the features of an image encoder. One half is chance.
"""

import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

import vox2pix

folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
tree = vox2pix.simulate(
    folder / "brain", sessions=4, trials_per_session=240, n_shared=40, n_early=500, n_ventral=500
)
subject = vox2pix.open_nsd(tree)
model = vox2pix.LatentDiffusion.from_pretrained("phantom", device="cpu")
train, test = subject.train, subject.test

# The targets of the training images: what is decoded later.
z = model.encode_images(subject.images(train.stimulus_ids, size=model.image_size))
c = model.embed_captions(subject.captions(train.stimulus_ids))

# Fit on single trials (`stimuli` says which image each of them showed), predict from the mean
# response to each test image.
decoded = {}
for name, values, roi in (("z", z, "early"), ("c", c, "ventral")):
    flat = values.reshape(len(values), -1)
    decoder = vox2pix.RidgeDecoder().fit(train.betas(roi), flat, stimuli=train.stimulus_rows)
    decoded[name] = decoder.predict(test.mean_betas(roi)).reshape(-1, *values.shape[1:])

# Every condition starts from the same noise, because it has the same seeds.
seeds = vox2pix.image_seeds(0, test.stimulus_ids, 1)
settings = vox2pix.ReconstructionSettings(steps=10, guidance=3.0, samples=1)
seen = subject.images(test.stimulus_ids, size=model.image_size)
encoder = vox2pix.image_encoder("phantom", device="cpu")
rows = {"seen": seen}
print("two-way identification   pixels   encoder")
for targets in (("z",), ("c",), ("z", "c")):
    chosen = {name: decoded[name] for name in targets}
    drawn = vox2pix.reconstruct(model, chosen, seeds=seeds, settings=settings)[:, 0]
    pixels = vox2pix.two_way(seen.reshape(len(seen), -1), drawn.reshape(len(seen), -1)).mean()
    content = vox2pix.two_way(encoder(seen), encoder(drawn)).mean()
    rows[" + ".join(targets)] = drawn
    print(f"{' + '.join(targets):24} {pixels:6.3f} {content:9.3f}")

figure, panels = plt.subplots(4, 8, figsize=(8, 4.2), layout="constrained")
for line, (name, images) in zip(panels, rows.items(), strict=True):
    line[0].set_ylabel(name)
    for panel, image in zip(line, images, strict=False):
        panel.imshow(image)
        panel.set(xticks=[], yticks=[])
figure.savefig(folder / "decode_and_draw.png", dpi=100)
