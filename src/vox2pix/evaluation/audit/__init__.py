"""Can the result be trusted: checks for images that did not come from the brain."""

from vox2pix.evaluation.audit.brain import (
    ceiling,
    diversity,
    held_out_clusters,
    null_control,
    swap,
    within_clusters,
    within_scores,
)
from vox2pix.evaluation.audit.finding import Finding, UnanswerableError, Verdict
from vox2pix.evaluation.audit.spectrum import (
    collapse,
    effective_rank,
    participation_ratio,
    singular_values,
)
from vox2pix.evaluation.audit.training import (
    clusters,
    copies,
    distance_dependence,
    near_duplicates,
    nearest_training,
    perceptual_hash,
    retrieval_baseline,
)
from vox2pix.evaluation.audit.whole import Audit, AuditInputs, audit

__all__ = [
    "Audit",
    "AuditInputs",
    "Finding",
    "UnanswerableError",
    "Verdict",
    "audit",
    "ceiling",
    "clusters",
    "collapse",
    "copies",
    "distance_dependence",
    "diversity",
    "effective_rank",
    "held_out_clusters",
    "near_duplicates",
    "nearest_training",
    "null_control",
    "participation_ratio",
    "perceptual_hash",
    "retrieval_baseline",
    "singular_values",
    "swap",
    "within_clusters",
    "within_scores",
]
