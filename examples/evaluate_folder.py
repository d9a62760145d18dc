"""Evaluation of a folder of images.

Reconstructions of any lab are scored against the images that were seen: two folders of files, or
arrays in files. Here the folder `mine` has two samples of each stimulus, `ID_1.png` and
`ID_2.png`, and a second folder, `other`, those of a method that loses all detail. Both are scored
by the default protocol, and by an image encoder beside it. Named protocols
(`protocol="mindeye2"`) compute the metrics of a paper, which need their networks.

Printed: the mean of each metric for both folders, its chance level, and the difference between
the two with its 95 % interval and p value (a paired permutation test over stimuli). The numbers
of each folder are also saved: a table for LaTeX, the scores of each stimulus, and the definitions.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

import vox2pix
from vox2pix.evaluation import save_evaluation

folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
tree = vox2pix.simulate(folder / "brain", sessions=1, trials_per_session=120, n_shared=30)
subject = vox2pix.open_nsd(tree)
ids = subject.test.stimulus_ids
seen = subject.images(ids, size=64)


def write(name, images, sample=""):
    """Write images (n, 64, 64, 3) in [0, 1] as PNG files, named by their stimulus."""
    (folder / name).mkdir(exist_ok=True)
    for stimulus_id, image in zip(ids, (255 * images.clip(0, 1)).round(), strict=True):
        Image.fromarray(image.astype(np.uint8)).save(folder / name / f"{stimulus_id}{sample}.png")


rng = np.random.default_rng(0)
write("seen", seen)
for name, blur in (("mine", 3), ("other", 12)):
    for sample in ("_1", "_2"):
        noisy = seen + 0.3 * rng.standard_normal(seen.shape)
        write(name, gaussian_filter(noisy, (0, blur, blur, 0)), sample)

results = {}
for name in ("mine", "other"):
    results[name], sources = vox2pix.evaluate_images(
        folder / "seen",
        folder / name,
        samples="{id}_{sample}.png",
        networks=["phantom"],
        device="cpu",
    )
    save_evaluation(results[name], folder / f"evaluation-{name}", sources)

chance = {(record.metric, record.direction): record.chance for record in results["mine"].records}
print("metric        fixed             mine   other  chance   difference")
for metric, direction in results["mine"].scores.columns:
    scores = {name: result.scores[metric, direction] for name, result in results.items()}
    (paired,) = vox2pix.compare({name: each.to_numpy() for name, each in scores.items()})
    print(
        f"{metric:13} {direction:14} {scores['mine'].mean():7.3f} {scores['other'].mean():7.3f}"
        f" {chance[metric, direction or None]:7.3f}   {paired.difference:.3f} "
        f"[{paired.ci_low:.3f}, {paired.ci_high:.3f}], p = {paired.p:.4f}"
    )
