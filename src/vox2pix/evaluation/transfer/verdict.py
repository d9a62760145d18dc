"""Whether imagery can be decoded at all, or whether that is open."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from vox2pix.evaluation.comparison import holm
from vox2pix.evaluation.transfer._reliability import Reliability
from vox2pix.evaluation.transfer.intervals import exceeds_p

LEVEL = 0.05

Answer = Literal["decodable", "open"]
Reason = Literal["exceeds the cue", "cue", "no signal", "no control"]


@dataclass(frozen=True)
class RegionVerdict:
    """What one region says."""

    p_signal: float  # imagery's reliability, permutation test, corrected over regions
    p_cue: float | None  # imagery above the cue control, corrected; None without control
    is_decodable: bool


@dataclass(frozen=True)
class Verdict:
    """The answer with its reason, and what each region says."""

    answer: Answer
    reason: Reason
    regions: Mapping[str, RegionVerdict]


def judge(imagery: Mapping[str, Reliability], cue: Mapping[str, Reliability] | None) -> Verdict:
    """Judge whether imagery can be decoded, from reliabilities by region.

    "decodable" needs a region in which imagery's patterns are reliable (permutation test) and
    more reliable than those of the cue control (paired test over stimuli, equal trials), both at
    5 % after Holm's correction over regions. All else is "open", for one of three reasons: the
    patterns are not reliable ("no signal"), they are, but the cue alone may explain it ("cue"),
    or there is no control that could tell ("no control").

    Parameters
    ----------
    imagery, cue : mapping of str to Reliability
        By region, of the same stimuli and the same number of trials; no cue if none was measured.

    Raises
    ------
    ValueError
        If both have other regions or other numbers of trials.
    """
    names = list(imagery)
    p_signal = dict(zip(names, holm([imagery[name].p for name in names]), strict=True))
    p_cue: dict[str, float] = {}
    if cue is not None:
        if list(cue) != names or any(cue[n].n_half != imagery[n].n_half for n in names):
            raise ValueError("Imagery and cue need the same regions and the same trials per half.")
        p = [exceeds_p(imagery[n].pseudo_values, cue[n].pseudo_values) for n in names]
        p_cue = {name: float(value) for name, value in zip(names, holm(p), strict=True)}
    regions = {
        name: RegionVerdict(
            float(p_signal[name]),
            p_cue.get(name),
            p_signal[name] < LEVEL and p_cue.get(name, 1.0) < LEVEL,
        )
        for name in names
    }
    if any(region.is_decodable for region in regions.values()):
        return Verdict("decodable", "exceeds the cue", regions)
    if not any(region.p_signal < LEVEL for region in regions.values()):
        return Verdict("open", "no signal", regions)
    return Verdict("open", "no control" if cue is None else "cue", regions)
