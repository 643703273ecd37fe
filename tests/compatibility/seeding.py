"""Small repos under the names of public ones that huggingface_hub's suite reads, made over our own API.

Each holds what a test can be seen to ask of it, and no more: a name, a card, a file of some size, a pull request.
The suite pins two commits by their hash; those two constants become the hashes that the commits have here.
"""

from concurrent.futures import ThreadPoolExecutor

import yaml
from huggingface_hub import CommitOperationAdd, HfApi

DUMMY = "julien-c/dummy-unknown"
DUMMY_FILES = {
    "config.json": b"{}".ljust(851),
    "flax_model.msgpack": b"flax" * 100,
    "merges.txt": b"#version: 0.2\n",
    "pytorch_model.bin": b"\x01" * 65_074,
    "tf_model.h5": b"\x02" * 100,
    "vocab.json": b"{}",
}
SAFETENSORS = (
    b'\x40\0\0\0\0\0\0\0{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(72) + b"\0" * 4
)
N_MANY = 101  # the suite wants to see more than 100 of a kind

MODEL_CARDS: dict[str, dict[str, object]] = {
    **{f"google/bert-{number}": {"tags": ["bert", "jax"]} for number in range(11)},
    "muellerzr/tiny": {"language": ["en", "fr", "zh"]},
    "facebook/bart-base": {},
    "microsoft/wavlm-base-sd": {"tags": ["pytorch"]},
    "albert/albert-base-v2": {"pipeline_tag": "fill-mask"},
    "HuggingFaceBR4/tiny": {"tags": ["tensorboard"]},
    "valid_org_hub/emitting": {"co2_eq_emissions": 17},
    "HuggingFaceH4/zephyr-7b-beta": {"widget": [{"text": "Hello"}]},
    "zai-org/GLM-5.2": {},
    "Qwen/Qwen3-0.6B": {"library_name": "transformers"},
}
DATASET_CARDS: dict[str, dict[str, object]] = {
    "huggingface/DataMeasurementsFiles": {
        "language": ["en", "fr"], "language_creators": "crowdsourced", "multilinguality": "multilingual",
        "size_categories": "100K<n<1M", "task_categories": ["audio-classification"],
        "task_ids": ["natural-language-inference"],
    },
    **{f"wikimedia/wikipedia-{number}": {} for number in range(6)},
    "HuggingFaceH4/no_robots": {},
    "openai/gsm8k": {},
    "HuggingFaceFW/fineweb": {"license": "odc-by"},
    "rajpurkar/squad": {},
}  # fmt: skip
TITLES = {"HuggingFaceFW/fineweb": "🍷 FineWeb"}
FILES: dict[str, dict[str, bytes]] = {
    "google/bert-0": {"bert.gguf": b"GGUF"},
    "google/bert-1": {"bert.gguf": b"GGUF"},
    "HuggingFaceH4/zephyr-7b-beta": {"pytorch_model-00001-of-00008.bin": b"\xff" * 64},
}


def seed(endpoint: str, token: str) -> dict[str, str]:
    """Every repo is there; the constants of the suite that its seeding decides."""
    api = HfApi(endpoint=endpoint, token=token)
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(_make, api, name, card, "model") for name, card in MODEL_CARDS.items()]
        jobs += [pool.submit(_make, api, name, card, "dataset") for name, card in DATASET_CARDS.items()]
        for kind in ("model", "dataset"):
            jobs += [
                pool.submit(_make, api, f"crowd/{kind}-{number}", None, kind) for number in range(N_MANY)
            ]
        for job in jobs:
            job.result()
    _make_renamed(api)
    _make_with_pull_requests(api)
    return {"DUMMY_MODEL_ID_REVISION_ONE_SPECIFIC_COMMIT": _make_dummy(api)} | _make_datasets(api)


def _make(api: HfApi, repo_id: str, card: dict[str, object] | None, kind: str) -> None:
    api.create_repo(repo_id, repo_type=kind)
    if card is not None:
        front = f"---\n{yaml.safe_dump(card)}---\n" if card else ""
        title = TITLES.get(repo_id, repo_id.partition("/")[2])
        _commit(api, repo_id, {"README.md": f"{front}# {title}\n".encode(), **FILES.get(repo_id, {})}, kind)


def _commit(
    api: HfApi,
    repo_id: str,
    files: dict[str, bytes],
    kind: str = "model",
    branch: str = "main",
    **options: bool,
) -> str:
    additions = [CommitOperationAdd(path, content) for path, content in files.items()]
    made = api.create_commit(
        repo_id, additions, commit_message="Add files", repo_type=kind, revision=branch, **options
    )
    return str(made.oid)


def _make_dummy(api: HfApi) -> str:
    """A model with eight files, two commits of ours and a pull request; its pinned commit."""
    api.create_repo(DUMMY)
    pinned = _commit(api, DUMMY, {"README.md": b"# dummy\n", **DUMMY_FILES})
    _commit(api, DUMMY, {"README.md": b"# A dummy\n"})
    _commit(api, DUMMY, {"config.json": b"{}".ljust(496)}, create_pr=True)
    return pinned


def _make_renamed(api: HfApi) -> None:
    before, after = "hf-internal-testing/dummy-will-be-renamed", "hf-internal-testing/dummy-renamed"
    api.create_repo(before)
    _commit(api, before, {"config.json": b"{}"})
    api.move_repo(before, after)


def _make_with_pull_requests(api: HfApi) -> None:
    for repo_id, path in [
        ("openchat/openchat_3.5", "a.txt"),
        ("huggingface-hub-ci/test_safetensors_metadata", ""),
    ]:
        api.create_repo(repo_id)
        for number in range(2):
            _commit(api, repo_id, {path or "model.safetensors": SAFETENSORS + bytes(number)}, create_pr=True)


def _make_datasets(api: HfApi) -> dict[str, str]:
    """Two data sets, one with a branch whose commit is pinned."""
    gaia, squad = "gaia-benchmark/GAIA", "lhoestq/custom_squad"
    _make(api, gaia, {"language": ["en"]}, "dataset")
    api.create_branch(gaia, repo_type="dataset", branch="test-branch")
    pinned = _commit(api, gaia, {"a.csv": b"a\n"}, "dataset", "test-branch")
    _make(api, squad, {}, "dataset")
    _commit(api, squad, {"custom_squad.py": b"# nothing\n", "data.parquet": b"PAR1" * 10}, "dataset")
    return {"DUMMY_DATASET_ID_REVISION_ONE_SPECIFIC_COMMIT": pinned}
