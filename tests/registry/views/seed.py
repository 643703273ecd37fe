"""Rows for the pages: a family of repos as mirroring, inspection, conversion and validation leave them.

The pages read rows only, so no bytes are stored; sizes and digests are made up but consistent.
"""

import hashlib
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db.models import F
from django.utils import timezone

from registry.models import (
    Artifact,
    Blob,
    Commit,
    Event,
    File,
    Header,
    Job,
    Lineage,
    Organisation,
    Recipe,
    Ref,
    Repo,
    Tensor,
    Upstream,
    Validation,
)

MEGA = 1_000_000
CARD = """# Open Kelp 8B

A small, text-only language model with **grouped-query attention**, trained on
[public books](https://example.org/books). See the [licence](LICENSE) and the ![badge](https://evil.example/b.png).

| text | perplexity |
|---|---:|
| prose | 6.24 |
| code | 3.10 |

```python
AutoModelForCausalLM.from_pretrained("kelp/open-8b")
```
"""


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def oid(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def make_repo(repo_id: str, *, upstream: bool = True, **facts: Any) -> Repo:
    """An empty repo, mirrored from a hub unless `upstream` is False."""
    namespace, name = repo_id.split("/")
    hub = None
    if upstream:
        hub, _ = Upstream.objects.get_or_create(kind="huggingface", endpoint="https://hub.example")
        facts = {"upstream_repo_id": repo_id, "synced_at": timezone.now()} | facts
    return Repo.objects.create(repo_id=repo_id, namespace=namespace, name=name, upstream=hub, **facts)


def make_blob(text: str, size_bytes: int, **facts: Any) -> Blob:
    facts = {"size_bytes": size_bytes, "store": "directory", "git_oid": oid(text)} | facts
    blob, _ = Blob.objects.get_or_create(sha256=sha(text), defaults=facts)
    return blob


def make_commit(repo: Repo, files: dict[str, int], *, branch: str = "main", **facts: Any) -> Commit:
    """A commit with files of those sizes; the branch names it. Files of equal name and size are the same blob."""
    number = Commit.objects.filter(repo=repo).count()
    facts = {
        "title": f"Commit {number}",
        "committed_at": timezone.now() - timedelta(days=40 - number),
    } | facts
    commit = Commit.objects.create(
        repo=repo, commit_hash=oid(f"{repo.repo_id} {number}"), n_files=len(files),
        size_bytes=sum(files.values()), **facts,
    )  # fmt: skip
    for path, size_bytes in files.items():
        blob = make_blob(f"{path} {size_bytes}", size_bytes, verified_at=timezone.now() - timedelta(days=3))
        is_lfs = size_bytes > 10 * MEGA
        File.objects.create(commit=commit, path=path, blob=blob, size_bytes=size_bytes,
                            git_oid=blob.git_oid, is_lfs=is_lfs,
                            lfs_sha256=blob.sha256 if is_lfs else None)  # fmt: skip
    Ref.objects.update_or_create(repo=repo, kind="branch", name=branch, defaults={"commit": commit})
    if branch == "main":
        repo.head = commit
        repo.save(update_fields=["head", "updated_at"])
    return commit


def make_header(file: File, n_tensors: int, *, format: str = "safetensors", dtype: str = "BF16") -> Header:  # noqa: A002
    """The file's header with that many tensors."""
    length = file.size_bytes // max(n_tensors, 1)
    Tensor.objects.bulk_create(
        Tensor(blob=file.blob, position=i, name=f"model.layers.{i}.mlp.gate_proj.weight", dtype=dtype,
               shape=[14336, 4096], start=4096 + i * length, length=length)
        for i in range(n_tensors)
    )  # fmt: skip
    return Header.objects.create(
        blob=file.blob, format=format, n_tensors=n_tensors, parameter_count=file.size_bytes // 2,
        metadata={"format": "pt", "tokenizer.ggml.tokens": {"type": "string", "length": 32000, "first": ["<s>"]}},
    )  # fmt: skip


def make_artifact(source: Commit, recipe: str, size_bytes: int, *, verdict: str = "verified") -> Artifact:
    """An artifact of the commit, judged; published in the derived repo when it is not damaged."""
    repo_id = f"{source.repo.repo_id}-GGUF"
    name = f"{source.repo.name}-{recipe}.gguf"
    recipe_row, _ = Recipe.objects.get_or_create(
        digest=sha(recipe), defaults={"name": recipe, "format": "gguf", "content": {"type": recipe}}
    )
    passed = verdict == "verified"
    home = None
    if passed:
        derived = Repo.objects.filter(repo_id=repo_id).first() or make_repo(repo_id, upstream=False)
        held = {file.path: file.size_bytes for file in derived.head.files.all()} if derived.head else {}
        home = make_commit(derived, held | {name: size_bytes}, architecture="llama", license="apache-2.0",
                           title=f"Add {name}", parameter_count=8_030_261_248)  # fmt: skip
    artifact = Artifact.objects.create(
        recipe=recipe_row, source=source, path=name, blob=make_blob(f"{name} {size_bytes}", size_bytes),
        state="published" if passed else "rejected", published_in=home, seconds=42.0,
    )  # fmt: skip
    judge(artifact, verdict)
    if passed:
        Lineage.objects.get_or_create(child=derived, parent_repo_id=source.repo.repo_id, relation="quantized",
                                      evidence="made_here", defaults={"parent": source.repo})  # fmt: skip
    return artifact


def judge(artifact: Artifact, verdict: str = "verified") -> Validation:
    """One more run of test inference on the artifact."""
    passed = verdict == "verified"
    reason = (
        "mean KL divergence 0.0014, limit 0.005" if passed else "mean KL divergence 4.9, above the limit 0.3"
    )
    return Validation.objects.create(
        blob=artifact.blob, parent=artifact.source, path=artifact.path, artifact=artifact, limits_version=2,
        verdict=verdict, passed=passed, reason=reason, engine="llama.cpp (xllamacpp 2026.10)",
        mean_kld=0.0014 if passed else 4.9, top1_agreement=0.977 if passed else 0.184,
        perplexity_ratio=1.0005 if passed else 12000.0, report=make_report(verdict, reason),
    )  # fmt: skip


def make_report(verdict: str, reason: str) -> dict[str, Any]:
    """A report in the shape of conversion/inference/report.py."""
    last = "pass" if verdict == "verified" else "fail"
    said = "it is a root-like structure that anchors the plant to the rocks"
    return {
        "schema": 2, "verdict": verdict, "reason": reason, "seconds": 848.2,
        "checks": [
            {"id": "integrity", "verdict": "pass", "summary": "sha256 equals the manifest", "seconds": 4.1},
            {"id": "completeness", "verdict": "pass", "summary": "292 tensors, 32 layers", "seconds": 0.2},
            {"id": "tensors", "verdict": "pass", "summary": "no NaN, no Inf, no constant row", "seconds": 96.0},
            {"id": "tokenizer", "verdict": "pass", "summary": "204 of 204 awkward strings", "seconds": 3.1},
            {"id": "load", "verdict": "pass", "summary": "loaded in a sandbox without network", "seconds": 6.4},
            {"id": "forward", "verdict": "pass", "summary": "all logits finite", "seconds": 312.0},
            {"id": "fidelity", "verdict": last, "summary": reason, "limit": 0.005, "seconds": 371.0},
            {"id": "cost", "verdict": "skipped", "seconds": 0.0},
        ],
        "engines": {"artifact": {"name": "llama.cpp", "package": "xllamacpp", "version": "2026.10.11549",
                                 "library_sha256": sha("library")}},
        "subject": {"kind": "decoder", "container": "GGUF", "architecture": "llama"},
        "parent": {"repo_id": "kelp/open-8b", "commit_hash": oid("kelp/open-8b 0"), "reading": sha("reading"),
                   "reference": "our F32 GGUF of the same commit, in llama.cpp"},
        "divergence": "top-256 + 256 classes, lower bound",
        "texts": {"prose.txt": sha("prose"), "code.txt": sha("code")},
        "by_text": {"prose.txt": {"n_positions": 2048, "mean_kld": 0.0012, "top1_agreement": 0.981,
                                  "ppl_parent": 6.24, "ppl_artifact": 6.243},
                    "code.txt": {"n_positions": 2048, "mean_kld": 0.0016, "top1_agreement": 0.973,
                                 "ppl_parent": 3.1, "ppl_artifact": 3.11}},
        "yardstick": {"file_type": "Q8_0", "converter": "holdfast-conversion/2", "figures": {"mean_kld": 0.0013}},
        "isolation": {"network": "none", "memory": "12 GB"},
        "limits": {"version": 2, "class": "8 bit"},
        "figures": {"n_positions": 4096, "mean_kld": 0.0014, "kld_error": 0.0001, "median_kld": 0.0004,
                    "p99_kld": 0.02, "max_kld": 0.4, "top1_agreement": 0.977, "ln_ppl_ratio": 0.0005,
                    "ppl_parent": 6.24, "ppl_artifact": 6.243, "rms_dp": 0.011},
        "samples": [{"prompt": "The holdfast of a kelp:", "parent": f"{said}. Unlike roots, it takes up nothing",
                     "artifact": f"{said} and to the seabed", "n_equal_tokens": 11}],
    }  # fmt: skip


def make_job(repo: Repo | None, kind: str = "mirror", state: str = "succeeded", **facts: Any) -> Job:
    """A job in that state, halfway through 64 GB if it is not over."""
    now = timezone.now()
    number, params = Job.objects.count(), facts.get("params", {})
    label = f"{kind} {repo} to {params['recipe']}" if "recipe" in params else f"{kind} {repo}"
    over = {"finished_at": now} if state not in ("queued", "running") else {}
    going = (
        {"lease_until": now + timedelta(seconds=20), "owner": "worker-1:42:1"} if state == "running" else {}
    )
    begun = {} if state == "queued" else {"started_at": now - timedelta(minutes=12), "attempts": 1}
    return Job.objects.create(
        kind=kind, key=f"{kind}-{number}", label=label, state=state, repo=repo,
        **(over | going | begun | facts),
    )  # fmt: skip


def make_family() -> dict[str, Repo]:
    """A base with variants, a fine-tune, an adapter of a base that is not held, and their jobs and events."""
    base = make_repo("kelp/open-8b")
    facts = {"parameters": {"BF16": 8_030_261_248}, "tokenizer": {"kind": "BPE", "vocab_size": 128256},
             "config": {"num_hidden_layers": 32, "hidden_size": 4096}}  # fmt: skip
    commit = make_commit(
        base, {"README.md": 1200, "LICENSE": 7627, "config.json": 826, "original/params.json": 199,
               "model-00001-of-00002.safetensors": 9_976 * MEGA, "model-00002-of-00002.safetensors": 6_084 * MEGA},
        architecture="llama", parameter_count=8_030_261_248, context_length=131072, license="apache-2.0",
        card=CARD, facts=facts, pipeline_tag="text-generation", inspected_at=timezone.now(),
    )  # fmt: skip
    for file in commit.files.filter(path__endswith=".safetensors"):
        make_header(file, 12)
    for recipe, size in {"F16": 16_068, "Q8_0": 8_540, "Q4_0": 4_661}.items():
        make_artifact(commit, recipe, size * MEGA)
    make_artifact(commit, "TQ2_0", 2_301 * MEGA, verdict="damaged")
    tune = make_repo("driftline/Skerry-8B")
    make_commit(tune, {"config.json": 826, "model.safetensors": 16_060 * MEGA}, architecture="llama",
                parameter_count=8_030_261_248, license="llama3.1", facts={"parameters": {"BF16": 1}})  # fmt: skip
    make_header(tune.head.files.get(path="model.safetensors"), 9)
    Lineage.objects.create(child=tune, parent=base, parent_repo_id=base.repo_id, relation="finetune",
                           evidence="declared")  # fmt: skip
    adapter = make_repo("kelpbed/archivist-lora")
    make_commit(adapter, {"adapter_model.safetensors": 40 * MEGA}, license="mit")
    Lineage.objects.create(child=adapter, parent_repo_id="someone/not-held", relation="adapter",
                           evidence="declared")  # fmt: skip
    _jobs_and_events(base)
    return {"base": base, "tune": tune, "adapter": adapter}


def _jobs_and_events(base: Repo) -> None:
    halfway = {"bytes_done": 41_261 * MEGA, "bytes_total": 64_190 * MEGA, "phase": "fetching"}
    make_job(base, "mirror", "running", **halfway)
    make_job(base, "convert", "queued", params={"commit": base.head_id, "recipe": "Q5_0"})
    make_job(base, "validate", "succeeded", result={"verdict": "verified"})
    make_job(base, "convert", "failed", params={"recipe": "IQ4_XS"}, error_code="unsupported-type",
             error_message="IQ4_XS is not one of F32, F16, BF16, Q8_0, Q4_0. Choose one of these.")  # fmt: skip
    for number, kind in enumerate(["ingestion", "metadata extraction", "migration", "validation"]):
        Event.objects.create(type=kind, repo=base, commit=base.head, agent="holdfast 0.1.0",
                             summary=f"{base.repo_id}: {kind}, step {number}")  # fmt: skip


def make_private(organisation: Organisation, repo_id: str = "acme/secret") -> Repo:
    """A repo that only the organisation's members may know of."""
    repo = make_repo(repo_id, private=True, organisation=organisation)
    make_commit(repo, {"model.safetensors": 5 * MEGA}, architecture="llama")
    make_header(repo.head.files.get(), 2)
    return repo


def main(what: str, *arguments: str) -> str:
    """`family`: the rows above, with Alice as staff. `finish JOB`, `advance JOB BYTES`: what a worker would write."""
    if what == "family":
        make_family()
        User.objects.create_user("alice", password="alice-password", is_staff=True)
    if what == "advance":
        Job.objects.filter(pk=arguments[0]).update(bytes_done=int(arguments[1]))
    if what == "finish":
        Job.objects.filter(pk=arguments[0]).update(
            state="succeeded", lease_until=None, finished_at=timezone.now(), bytes_done=F("bytes_total")
        )
    running = Job.objects.filter(state="running").values_list("pk", flat=True).first()
    return str(running or "")
