"""How much data is enough.

How well z is decoded depends on how many trials the decoder is trained on, and on how often a
test image was repeated. This script fits the decoder with the training trials of one to four
sessions, and predicts from the mean of one, two or three responses to each test image. The test
images are the same throughout.

Printed and drawn: the mean correlation of decoded and true values of z over test images.
"""

import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import vox2pix
from vox2pix.linear import pearson_r

folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
tree = vox2pix.simulate(
    folder / "brain", sessions=4, trials_per_session=240, n_shared=60, n_early=400, n_ventral=50
)
subject = vox2pix.open_nsd(tree, rois="early")
model = vox2pix.LatentDiffusion.from_pretrained("phantom", device="cpu")


def z_of(stimulus_ids):
    """Return z of images, one row per stimulus."""
    images = subject.images(stimulus_ids, size=model.image_size)
    return model.encode_images(images).reshape(len(images), -1)


# Trials are in time order, so that a running count says which repeat of its image a trial is.
trials = subject.trials
is_test = (trials["split"] == "test").to_numpy()
session = trials["session"].to_numpy()
repeat = trials.groupby("stimulus_id").cumcount().to_numpy() + 1

z_test = z_of(subject.test.stimulus_ids)
n_trials, r = [], np.empty((4, 3))
for n_sessions in (1, 2, 3, 4):
    train = subject.select(~is_test & (session <= n_sessions))
    decoder = vox2pix.RidgeDecoder()
    decoder.fit(train.betas("early"), z_of(train.stimulus_ids), stimuli=train.stimulus_rows)
    n_trials.append(train.n_trials)
    for n_repeats in (1, 2, 3):
        test = subject.select(is_test & (repeat <= n_repeats))
        predicted = decoder.predict(test.mean_betas("early"))
        r[n_sessions - 1, n_repeats - 1] = np.nanmean(pearson_r(z_test, predicted))

print("training trials   1 repeat   2 repeats   3 repeats")
for n, row in zip(n_trials, r, strict=True):
    print(f"{n:15} {row[0]:10.3f} {row[1]:11.3f} {row[2]:11.3f}")

figure, panel = plt.subplots(figsize=(5, 3.2), layout="constrained")
for n_repeats, marker in ((3, "o"), (2, "s"), (1, "^")):
    name = f"{n_repeats} repeat{'s' if n_repeats > 1 else ''}"
    panel.plot(n_trials, r[:, n_repeats - 1], marker=marker, label=name)
panel.set(xlabel="training trials", ylabel="mean r of z")
panel.spines[["top", "right"]].set_visible(False)
panel.legend(title="test responses averaged over", frameon=False)
figure.savefig(folder / "how_much_data.png", dpi=120)
