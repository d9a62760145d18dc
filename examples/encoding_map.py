"""A map of z and c on the cortex.

An encoding model turns decoding round: it predicts the response of each voxel from the features
of the image. Here two models are compared, one from z (the layout of an image) and one from c
(the meaning of its captions). The simulated responses are on the cortical surface of fsaverage5.

Printed: the mean correlation of predicted and measured responses to new images, for each region
and target. The ceiling is the highest correlation that noise leaves possible. The map shows by
how much c predicts a vertex better than z; it is also saved in GIFTI files, which other programs
open (Connectome Workbench, nilearn).
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

import vox2pix
from vox2pix.encoding import ncsnr_ceiling
from vox2pix.encoding.cortex import flat_map
from vox2pix.encoding.figures import Scale, save_figure
from vox2pix.encoding.maps import save_map, to_surface

folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
regions = ("early", "midventral", "ventral", "lateral", "parietal")
tree = vox2pix.simulate(folder / "brain", sessions=3, trials_per_session=240, space="fsaverage5")
subject = vox2pix.open_nsd(tree, rois=regions, space="fsaverage5")
model = vox2pix.LatentDiffusion.from_pretrained("phantom", device="cpu")
train, test = subject.train, subject.test


def features(target, stimulus_ids):
    """Return the values of a target, one row per stimulus."""
    if target == "z":
        values = model.encode_images(subject.images(stimulus_ids, size=model.image_size))
    else:
        values = model.embed_captions(subject.captions(stimulus_ids))
    return values.reshape(len(values), -1)


r = {}
for target in ("z", "c"):
    encoding = vox2pix.EncodingModel().fit(
        features(target, train.stimulus_ids), train.mean_betas(), sample_weight=train.repeats
    )
    predicted = encoding.predict(features(target, test.stimulus_ids))
    r[target] = vox2pix.encoding_scores(test.mean_betas(), predicted).r
ceiling = np.sqrt(ncsnr_ceiling(subject.voxels["ncsnr"], test.repeats) / 100)

print("region          z      c   ceiling")
for roi in regions:
    inside = subject.voxel_mask(roi)
    z, c, limit = (np.nanmean(values[inside]) for values in (r["z"], r["c"], ceiling))
    print(f"{roi:12} {z:5.2f}  {c:5.2f}   {limit:7.2f}")

difference = r["c"] - r["z"]
save_map(subject, difference, folder, "c_minus_z")
plot = flat_map(
    to_surface(subject, difference),
    Scale("r of c less r of z", -0.5, 0.5, cmap="PuOr_r"),
    rois={roi: to_surface(subject, subject.voxel_mask(roi)) for roi in regions},
)
save_figure(plot, folder / "encoding_map")
