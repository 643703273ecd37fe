"""Every table of the service, one noun a file."""

from registry.models.account import AccessToken, Member, Organisation
from registry.models.artifact import Artifact, Recipe
from registry.models.blob import Blob
from registry.models.commit import Commit, File
from registry.models.event import Event
from registry.models.gate import Gate
from registry.models.imatrix import Imatrix
from registry.models.job import Job
from registry.models.lineage import Lineage
from registry.models.override import Override
from registry.models.policy import Policy
from registry.models.reading import Reading
from registry.models.repo import Ref, Repo
from registry.models.tensor import Header, Tensor
from registry.models.upstream import Upstream
from registry.models.validation import Validation
from registry.models.yardstick import Yardstick

__all__ = [
    "AccessToken", "Artifact", "Blob", "Commit", "Event", "File", "Gate", "Header", "Imatrix", "Job", "Lineage",
    "Member", "Organisation", "Override", "Policy", "Reading", "Recipe", "Ref", "Repo", "Tensor", "Upstream",
    "Validation", "Yardstick",
]  # fmt: skip
