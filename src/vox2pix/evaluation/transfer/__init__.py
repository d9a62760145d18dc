"""Whether a decoder transfers to imagined, dreamt or other responses: statistics on arrays."""

from vox2pix.evaluation.transfer._reliability import (
    Reliability,
    Trials,
    equal_reliability,
    reliability,
    trials_per_half,
)
from vox2pix.evaluation.transfer._shift import Shift, Standardisation, restandardise, shift
from vox2pix.evaluation.transfer.identification import (
    CurvePoint,
    Identification,
    averaged_pseudo_values,
    identify,
    largest_share,
    pseudo_values,
    similarities,
    trial_curve,
)
from vox2pix.evaluation.transfer.intervals import (
    Estimate,
    exceeds_p,
    mean_over_sets,
    ratio_over_sets,
)
from vox2pix.evaluation.transfer.permutation import (
    label_permutations,
    null_sums,
    permutation_p,
)
from vox2pix.evaluation.transfer.verdict import RegionVerdict, Verdict, judge
from vox2pix.evaluation.transfer.words import WordIdentification, identify_words, word_targets

__all__ = [
    "CurvePoint",
    "Estimate",
    "Identification",
    "RegionVerdict",
    "Reliability",
    "Shift",
    "Standardisation",
    "Trials",
    "Verdict",
    "WordIdentification",
    "averaged_pseudo_values",
    "equal_reliability",
    "exceeds_p",
    "identify",
    "identify_words",
    "judge",
    "label_permutations",
    "largest_share",
    "mean_over_sets",
    "null_sums",
    "permutation_p",
    "pseudo_values",
    "ratio_over_sets",
    "reliability",
    "restandardise",
    "shift",
    "similarities",
    "trial_curve",
    "trials_per_half",
    "word_targets",
]
