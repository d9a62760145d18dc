"""Your own data.

An experiment is one folder: responses, a table of trials, a table of voxels, and images. This
script writes a small one, of coloured patches that were each shown three times. It checks the
folder, decodes the patches from the responses of V1, and then makes a mistake on purpose: it
removes an image, and checks again.

Printed: what the check finds, how well the colours are decoded (their correlation, and how often
the decoded patches are nearer to their own original than to another one, where one half is
chance), and the message on the missing image.
"""

import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from PIL import Image

import vox2pix
from vox2pix.data import check
from vox2pix.linear import pearson_r

folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
own = folder / "my-data"
(own / "images").mkdir(parents=True)
rng = np.random.default_rng(0)

# Eighty images of 4 x 4 patches. File names are the ids of the stimuli.
ids = np.array([f"patches{i:02d}" for i in range(80)])
patches = rng.random((80, 4, 4, 3))
for stimulus_id, patch in zip(ids, patches, strict=True):
    image = Image.fromarray((255 * patch).astype(np.uint8)).resize((64, 64), Image.NEAREST)
    image.save(own / "images" / f"{stimulus_id}.png")

# One row per trial: every image once in each of three sessions. Sixteen images are for testing.
shown = np.concatenate([rng.permutation(80) for _ in range(3)])
split = np.where(shown < 16, "test", "train")
trials = {"stimulus_id": ids[shown], "session": np.repeat([1, 2, 3], 80), "split": split}
pd.DataFrame(trials).to_csv(own / "trials.csv", index=False)

# Responses (n_trials, n_voxels) in the order of the trials, and the region of each voxel.
signal = patches.reshape(80, -1) @ rng.standard_normal((48, 200))
responses = signal[shown] + 2 * rng.standard_normal((240, 200))
np.save(own / "responses.npy", responses.astype(np.float32))
is_v1 = np.arange(200) < 150
pd.DataFrame({"V1": is_v1, "V2": ~is_v1}).astype(int).to_csv(own / "voxels.csv", index=False)

found = check(own)
print(f"{found.train.n_trials} training trials, {found.test.n_stimuli} test images")
for name, roi in found.rois.items():
    print(f"{name}: {roi.n_voxels} voxels, noise ceiling {roi.averaged:.0f} % of variance")

subject = vox2pix.open_folder(own)
train, test = subject.train, subject.test
colours = subject.images(train.stimulus_ids, size=4).reshape(-1, 48)
decoder = vox2pix.RidgeDecoder().fit(train.betas("V1"), colours, stimuli=train.stimulus_rows)
predicted = decoder.predict(test.mean_betas("V1"))
truth = subject.images(test.stimulus_ids, size=4).reshape(-1, 48)
print(f"correlation of a colour: {pearson_r(truth, predicted).mean():.2f}")
print(f"two-way identification: {vox2pix.two_way(truth, predicted).mean():.3f}")

figure, panels = plt.subplots(2, 8, figsize=(8, 2.2), layout="constrained")
for line, name, rows in zip(panels, ("seen", "decoded"), (truth, predicted), strict=True):
    line[0].set_ylabel(name)
    for panel, row in zip(line, rows, strict=False):
        panel.imshow(row.reshape(4, 4, 3).clip(0, 1))
        panel.set(xticks=[], yticks=[])
figure.savefig(folder / "own_data.png", dpi=100)

# A mistake on purpose.
(own / "images" / "patches03.png").unlink()
print(f"after a mistake: {check(own).faults[0]}")
