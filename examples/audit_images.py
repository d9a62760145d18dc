"""An audit of somebody else's images.

Images that look right need not come from the brain. The audit asks where they came from, with
whatever there is: images alone, or scores, features and controls as well. Two laboratories send
images of the same test stimuli, made from the same decoded z. Laboratory A shows the autoencoder's
image of z. Laboratory B shows the training image whose z is nearest: a sharp image, and a copy.

Printed: for both laboratories every finding with its verdict, and which checks were not computed
because their inputs are missing.
"""

import sys
import tempfile
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import vox2pix
from vox2pix.evaluation.audit import nearest_training

folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
tree = vox2pix.simulate(
    folder / "brain", sessions=4, trials_per_session=240, n_shared=40, n_early=500, n_ventral=50
)
subject = vox2pix.open_nsd(tree, rois="early")
model = vox2pix.LatentDiffusion.from_pretrained("phantom", device="cpu")
train, test = subject.train, subject.test
training = subject.images(train.stimulus_ids, size=model.image_size)
seen = subject.images(test.stimulus_ids, size=model.image_size)
z_train = model.encode_images(training).reshape(len(training), -1)
z_test = model.encode_images(seen).reshape(len(seen), -1)

decoder = vox2pix.RidgeDecoder()
decoder.fit(train.betas("early"), z_train, stimuli=train.stimulus_rows)
responses = test.mean_betas("early")
decoded = decoder.predict(responses)
# The same decoder with the responses to other stimuli: a control that must fall to chance.
shuffled = decoder.predict(np.roll(responses, 1, axis=0))


def image_of(z):
    """Return the autoencoder's images of z, as laboratory A does."""
    return model.decode_latents(z.reshape(-1, *model.latent_shape))


def nearest_image(z):
    """Return the training images with the nearest z, as laboratory B does."""
    return training[nearest_training(z, z_train, centred=True)[0]]


def score(images):
    """Return the two-way identification of each image, by its pixels."""
    return vox2pix.two_way(seen.reshape(len(seen), -1), images.reshape(len(seen), -1))


shown = {"seen": seen}
for laboratory, draw in (("A", image_of), ("B", nearest_image)):
    shown[laboratory] = images = draw(decoded)
    inputs = vox2pix.AuditInputs(
        originals=seen,
        reconstructions=images[:, None],  # one sample of each
        training_images=training,
        scores=score(images),
        shuffled_scores=score(draw(shuffled)),
        baseline_scores=score(nearest_image(decoded)),
        true_features=z_test,
        predicted_features=decoded,
        training_features=z_train,
        feature="z",
    )
    result = vox2pix.audit(inputs)
    print(f"Laboratory {laboratory}: {result.verdict}")
    for finding in result.findings:
        text = f"{finding.verdict}  {finding.name}: {finding.sentence}"
        print(textwrap.fill(text, 90, initial_indent="  ", subsequent_indent=" " * 8))
    text = f"not computed: {', '.join(result.not_computed)}"
    print(textwrap.fill(text, 90, initial_indent="  ", subsequent_indent=" " * 8))

figure, panels = plt.subplots(3, 8, figsize=(8, 3.2), layout="constrained")
for line, (name, images) in zip(panels, shown.items(), strict=True):
    line[0].set_ylabel(name)
    for panel, image in zip(line, images, strict=False):
        panel.imshow(image)
        panel.set(xticks=[], yticks=[])
figure.savefig(folder / "audit_images.png", dpi=100)
