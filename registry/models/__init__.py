"""Every table of the service, one noun a file."""

from registry.models.account import AccessToken, Member, Organisation
from registry.models.artifact import Artifact, Recipe
from registry.models.blob import Blob
from registry.models.commit import Commit, File
from registry.models.event import Event
from registry.models.imatrix import Imatrix
from registry.models.job import Job
from registry.models.lineage import Lineage
from registry.models.policy import Policy
from registry.models.repo import Ref, Repo
from registry.models.tensor import Header, Tensor
from registry.models.upstream import Upstream
from registry.models.validation import Validation

__all__ = [
    "AccessToken", "Artifact", "Blob", "Commit", "Event", "File", "Header", "Imatrix", "Job", "Lineage", "Member",
    "Organisation", "Policy", "Recipe", "Ref", "Repo", "Tensor", "Upstream", "Validation",
]  # fmt: skip
