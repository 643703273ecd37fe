"""Why tests of huggingface_hub's suite do not pass against us: one line each, by the test's name.

`not applicable`: what is not offered here, or is the public hub's alone. `failed`: what we do otherwise.
"""

import re
from typing import Literal, NamedTuple

Verdict = Literal["not applicable", "failed"]


class Reason(NamedTuple):
    verdict: Verdict
    text: str


NOT_OFFERED = {
    r"[Ss]pace": "there are no Spaces here, only models and datasets",
    r"repo_list$": "asks for Spaces too, and there are none here",
    r"TestHfApiDiscussions": "discussions are not kept here, only pull requests, and the fixture makes one of each",
    r"TestActivityApi": "there are no likes here",
    r"TestCollectionAPI": "there are no collections here",
    r"TestWebhookApi": "there are no webhooks here",
    r"TestPaperApi": "there are no papers here",
    r"[Ll]eaderboard": "there are no leaderboards here",
    r"inference|InferenceCatalog": "there are no inference providers here",
    r"TestAccessRequestAPI": "nobody asks for access to a gated repo here; its organisation's members have it",
    r"TestUserApi": "reads the public hub's own people, who have no account here",
    r"SkillsMarketplace": "reads a bucket of the public hub, and there are no buckets here",
    r"DatasetsSql|parquet_files": "asks the public hub's dataset server, which is another service",
    r"xet|Xet": "needs a Xet store, which this server does not have",
    r"create_commit_mutates|pre_upload_before|lots_of_lfs": (
        "small files go inside the commit here, as the client would need a Xet store for LFS; it wants them sent before"
    ),
    r"create_repo_private_by_default": "there are no organisations here whose repos are private by default",
    r"whoami_with_passing_token": "organisations have a name here, and no second, full name",
    r"filter_datasets_by_benchmark": "the public hub itself says which data sets are official benchmarks",
}
OF_THE_PUBLIC_HUB = {
    r"list_models_num_parameters": "needs public models of 6 billion parameters",
    r"test_model_info$": "needs the day on which a public repo was made",
    r"get_paths_info|list_tree_with_expand|list_files_without_expand|safetensors_metadata_1|parse_safetensors_metadata":
        "reads a commit of a large public repo by its hash",
    r"get_safetensors_metadata": "counts the tensors of a large public model",
    r"list_refs_gpt2|from_a_lfs_file|ls_files_(json|quiet|tree|recursive)":
        "reads a public repo that has no organisation (`gpt2`, `t5-small`)",
    r"list_refs_bigcode": "reads the refs of a conversion that the public hub's robot made",
    r"gzipped_file": "reads a public data set by a commit's hash",
    r"large_file_http_path": "needs a file of more than 50 GB",
    r"TestNormalizeEtag": "asks the public hub by its fixed address",
    r"TestParseHFUrl|TestRepoUrl":
        "compares with the public hub's fixed address, in place of which the client was given ours",
    r"with_user_agent": "counts on a redirect to another host; HEAD is answered directly here",
    r"json_on_command_without_format":
        "counts on the dummy model being in production and not in staging, which are one here",
    r"expand_space": "there are no Spaces here, only models and datasets",
}  # fmt: skip
OTHERWISE_HERE = {
    r"TestHfHubDownloadRelativePaths":
        "a path with backslashes is refused with 422: it would leave its folder on Windows",
    r"create_commit_repo_does_not_exist":
        "compares the whole message, and ours says more: the repo's name and what to check",
    r"commit_to_repo_in_background": "wants a future back within 10 ms, which takes a machine that is not busy",
    r"list_and_delete_lfs_files": "LFS objects are not deleted from a history here: a commit never changes",
}  # fmt: skip


def reason_of(test: str) -> Reason | None:
    """Why a test that did not pass did not, if that is known."""
    name = test.partition("::")[2]
    known: dict[Verdict, dict[str, str]] = {
        "failed": OTHERWISE_HERE,
        "not applicable": NOT_OFFERED | OF_THE_PUBLIC_HUB,
    }
    for verdict, reasons in known.items():
        for pattern, text in reasons.items():
            if re.search(pattern, name):
                return Reason(verdict, text)
    return None
