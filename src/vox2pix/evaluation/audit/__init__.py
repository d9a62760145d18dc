"""Can the result be trusted: checks for images that did not come from the brain."""

from vox2pix.evaluation.audit.figures import audit_figure
from vox2pix.evaluation.audit.finding import Finding, UnanswerableError, Verdict
from vox2pix.evaluation.audit.training import clusters, nearest_training
from vox2pix.evaluation.audit.whole import Audit, AuditInputs, audit

__all__ = [
    "Audit",
    "AuditInputs",
    "Finding",
    "UnanswerableError",
    "Verdict",
    "audit",
    "audit_figure",
    "clusters",
    "nearest_training",
]
