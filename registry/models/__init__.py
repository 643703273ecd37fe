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
from registry.models.pull_request import PullRequest
from registry.models.reading import Reading
from registry.models.repo import FormerName, Ref, Repo
from registry.models.tensor import Header, Tensor
from registry.models.upload import Upload
from registry.models.upstream import Binding, Upstream
from registry.models.validation import Validation
from registry.models.yardstick import Yardstick

__all__ = [
    "AccessToken", "Artifact", "Binding", "Blob", "Commit", "Event", "File", "FormerName", "Gate", "Header",
    "Imatrix", "Job", "Lineage", "Member", "Organisation", "Override", "Policy", "PullRequest", "Reading",
    "Recipe", "Ref", "Repo", "Tensor", "Upload", "Upstream", "Validation", "Yardstick",
]  # fmt: skip
