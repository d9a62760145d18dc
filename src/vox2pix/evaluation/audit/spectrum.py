"""Whether predicted features collapse onto few directions."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vox2pix.evaluation.audit.finding import Finding, UnanswerableError, Verdict


def singular_values(features: ArrayLike) -> NDArray[np.float64]:
    """Return the singular values of features (n, d) less their mean, the largest first."""
    centred = np.asarray(features, np.float64)
    centred = centred - centred.mean(axis=0)
    n, d = centred.shape
    # The small Gram matrix has them all, squared, and n is far below d here.
    gram = centred @ centred.T if n <= d else centred.T @ centred
    return np.sqrt(np.clip(np.linalg.eigvalsh(gram)[::-1], 0, None))


def effective_rank(values: ArrayLike) -> float:
    r"""Return the effective rank of a matrix from its singular values (Roy & Vetterli 2007).

    .. math:: \exp\Bigl(-\sum_k p_k \ln p_k\Bigr), \qquad p_k = \sigma_k / \sum_l \sigma_l

    Between 1 and the rank, which it reaches where all singular values are equal; 0 of zeros.
    """
    sigma = np.asarray(values, np.float64)
    if not sigma.sum() > 0:
        return 0.0
    p = sigma[sigma > 0] / sigma.sum()
    return float(np.exp(-np.sum(p * np.log(p))))


def participation_ratio(values: ArrayLike) -> float:
    r"""Return the participation ratio of the variances given by singular values.

    .. math:: \Bigl(\sum_k \sigma_k^2\Bigr)^2 / \sum_k \sigma_k^4

    The number of directions that carry the variance, if they shared it equally; weighs small ones
    less than :func:`effective_rank` does. 0 of zeros.
    """
    sigma = np.asarray(values, np.float64)
    if not sigma.any():
        return 0.0
    share = (sigma / sigma.max()) ** 2
    return float(share.sum() ** 2 / np.sum(share**2))


def collapse(
    true_features: ArrayLike, predicted_features: ArrayLike, name: str = "target"
) -> Finding:
    """Compare the directions and the variance of predictions and targets, both (n, d).

    Regression onto many targets from few samples collapses onto few directions (Otsuka et al.
    2025). Both spectra are of the same test stimuli, less their mean. The value is the ratio of the
    effective ranks, predicted over true. It fails below a tenth, or where the predictions vary by
    less than 1/200 of the targets' variance (one prediction for all). It warns below a quarter or
    1/20, and where predictions vary *more* than targets: a calibrated regression shrinks, one that
    fits noise does not. Unanswerable where the true features do not vary, or from fewer than three
    test stimuli.
    """
    true, predicted = np.asarray(true_features), np.asarray(predicted_features)
    if true.ndim != 2 or true.shape != predicted.shape:
        raise ValueError(
            f"True and predicted features need one shape (n, d), not {true.shape} and "
            f"{predicted.shape}."
        )
    if len(true) < 3:  # two rows less their mean have one direction, whatever they are
        raise UnanswerableError(f"{len(true)} test images are too few to span directions")
    if not (np.isfinite(true).all() and np.isfinite(predicted).all()):
        raise ValueError("Features must be finite; some are NaN or infinite.")
    spectra = {"true": singular_values(true), "predicted": singular_values(predicted)}
    power = {key: float(np.sum(sigma**2)) for key, sigma in spectra.items()}
    ranks = {key: effective_rank(sigma) for key, sigma in spectra.items()}
    if not power["true"] > 0:
        raise UnanswerableError(f"the true {name} does not vary over the test stimuli")
    variance = power["predicted"] / power["true"]
    ratio = ranks["predicted"] / ranks["true"]
    verdict: Verdict
    if ratio < 0.1 or variance < 0.005:
        verdict, meaning = "fail", "the predictions have collapsed"
    elif ratio < 0.25 or variance < 0.05:
        verdict, meaning = "warn", "the predictions keep to few directions or near their mean"
    elif variance > 1:
        verdict, meaning = "warn", "predictions that vary more than their targets follow noise"
    else:
        verdict, meaning = "pass", "no collapse"
    return Finding(
        name="effective rank",
        verdict=verdict,
        sentence=f"The decoded {name} spans {ranks['predicted']:.1f} directions, the true one "
        f"{ranks['true']:.1f} (effective rank, ratio {ratio:.2f}), with {variance:.2f} of "
        f"its variance: {meaning}.",
        value=ratio,
        references={
            "effective rank, true": ranks["true"],
            "effective rank, predicted": ranks["predicted"],
            "participation ratio, true": participation_ratio(spectra["true"]),
            "participation ratio, predicted": participation_ratio(spectra["predicted"]),
            "variance ratio": variance,
        },
        details=spectra,
    )
