"""Another decoder from scikit-learn.

The diffusion model takes z from anywhere. Any regression of scikit-learn with several outputs can
decode it: here are cross-validated ridge regression, partial least squares, and nearest
neighbours, beside the decoder of vox2pix. Only the latter knows that trials repeat images, so the
others get the mean response to each training image.

Printed: the mean correlation of the decoded values of z with the true ones over test images; and
PixCorr, the correlation of the pixels of the image that z gives (through the autoencoder, without
diffusion) with those of the image that was seen.
"""

import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.cross_decomposition import PLSRegression
from sklearn.linear_model import RidgeCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import vox2pix
from vox2pix.linear import pearson_r

folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
tree = vox2pix.simulate(
    folder / "brain", sessions=4, trials_per_session=240, n_shared=40, n_early=500, n_ventral=50
)
subject = vox2pix.open_nsd(tree, rois="early")
model = vox2pix.LatentDiffusion.from_pretrained("phantom", device="cpu")
train, test = subject.train, subject.test
seen = subject.images(test.stimulus_ids, size=model.image_size)
z_test = model.encode_images(seen).reshape(len(seen), -1)
images = subject.images(train.stimulus_ids, size=model.image_size)
z = model.encode_images(images).reshape(len(images), -1)

X = train.mean_betas("early")
ridge = RidgeCV(np.logspace(2, 5, 7), alpha_per_target=True)
decoders = {
    "RidgeDecoder": vox2pix.RidgeDecoder().fit(
        train.betas("early"), z, stimuli=train.stimulus_rows
    ),
    "RidgeCV": make_pipeline(StandardScaler(), ridge).fit(X, z),
    "PLSRegression": PLSRegression(n_components=12).fit(X, z),
    "KNeighbors": make_pipeline(StandardScaler(), KNeighborsRegressor(10)).fit(X, z),
}

rows = {"seen": seen}
print("decoder          r of z   PixCorr")
for name, decoder in decoders.items():
    predicted = decoder.predict(test.mean_betas("early")).astype(np.float32)
    rows[name] = model.decode_latents(predicted.reshape(-1, *model.latent_shape))
    r = np.nanmean(pearson_r(z_test, predicted))
    print(f"{name:16} {r:6.3f} {vox2pix.pixcorr(seen, rows[name]).mean():9.3f}")

figure, panels = plt.subplots(5, 8, figsize=(8, 5.2), layout="constrained")
for line, (name, shown) in zip(panels, rows.items(), strict=True):
    line[0].set_ylabel(name, fontsize=8)
    for panel, image in zip(line, shown, strict=False):
        panel.imshow(image)
        panel.set(xticks=[], yticks=[])
figure.savefig(folder / "other_decoder.png", dpi=100)
