"""models.txt and policy.txt: pip's syntax, with errors that name the file and the line."""

import hashlib
from pathlib import Path

import pytest
from holdfast.errors import HoldfastError, PolicyDenied, UsageError
from holdfast.lists.policy import constrain
from holdfast.lists.requirements import Requirement, Requirements, parse_requirement, read_requirements
from holdfast.reference import parse_reference
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.client.calling import Caller
from tests.client.conftest import CARD, CONFIG, SMALL, noise
from tests.client.running import Home
from tests.client.server import HoldfastHub


@pytest.fixture
def home(hub: HoldfastHub, tmp_path: Path) -> Home:
    folder = tmp_path / "home"
    folder.mkdir()
    return Caller(folder, hub.url)


HASH = "a" * 64


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def read(folder: Path, text: str, **environ: str) -> Requirements:
    path = folder / "models.txt"
    path.write_text(text)
    return read_requirements([path], [], environ)


def refused(folder: Path, text: str, **environ: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        read(folder, text, **environ)
    return caught.value


def test_a_list_is_read_as_pip_reads_its_own(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "\ufeff# models\r\n\r\norg/one@v1.0   # a comment\n  org/two==v2:Q8_0 \\\n   --hash=sha256:"
        + "B" * 64 + " \\\n --hash sha256:" + HASH
        + "\norg/three --format safetensors --include 'a b/*' --exclude=*.md\n",
    )  # fmt: skip
    one, two, three = found.models
    assert (one.reference.repo_id, one.reference.revision) == ("org/one", "v1.0")
    assert (two.reference.revision, two.reference.variant, two.hashes) == ("v2", "Q8_0", (HASH, "b" * 64))
    assert (three.reference.variant, three.patterns.include, three.patterns.exclude) == (
        "safetensors", ("a b/*",), ("*.md",),
    )  # fmt: skip
    assert [one.place.rpartition(":")[2] for one in found.models] == ["3", "4", "7"]


def test_options_name_indexes_and_demands(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "-i https://one.example/\n--extra-index-url=https://two.example\n-f wheels\n--no-index\n--require-hashes\n"
        "--require-validated\n",
    )
    assert (found.index_url and found.index_url.value, found.extra_index_urls) == (
        "https://one.example", ("https://two.example",),
    )  # fmt: skip
    assert found.find_links == (str(tmp_path / "wheels"),)
    assert (found.no_index, found.require_hashes, len(found.policy.validated)) == (True, True, 1)


def test_other_files_are_relative_to_the_one_that_includes_them(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "more.txt").write_text("org/b\n-r deeper.txt\n-cpolicy.txt\norg/a\n")
    (tmp_path / "sub" / "deeper.txt").write_text("org/c\n")
    (tmp_path / "sub" / "policy.txt").write_text("--allow-licence MIT,apache-2.0\n--max-size 10G\norg/a@v1\n")
    found = read(tmp_path, "org/a\n-r sub/more.txt\n")
    assert [one.text for one in found.models] == ["org/a", "org/b", "org/c"]
    assert [rule.value for rule in found.policy.licences] == ["mit", "apache-2.0"]
    assert found.policy.max_sizes[0].value == "10000000000"
    assert constrain(parse_reference("org/a"), found.policy).revision == "v1"
    with pytest.raises(PolicyDenied, match=r"policy\.txt:3 allows only v1"):
        constrain(parse_reference("org/a@v2"), found.policy)


def test_files_that_include_each_other_are_refused(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("\n-r models.txt\n")
    assert "b.txt:2" in refused(tmp_path, "-r b.txt\n").message
    assert "includes itself" in refused(tmp_path, "-r models.txt").message


def test_files_that_double_at_every_step_end(tmp_path: Path) -> None:
    for n in range(30):
        (tmp_path / f"{n}.txt").write_text(f"-r {n + 1}.txt\n" * 2)
    (tmp_path / "30.txt").write_text("org/a\n")
    assert "more than 200 files" in refused(tmp_path, "-r 0.txt").message


def test_variables_are_put_in_and_can_add_no_option(tmp_path: Path) -> None:
    found = read(tmp_path, "org/${NAME}@v1\n", NAME="model")
    assert found.models[0].text == "org/model@v1"
    assert "models.txt:1" in refused(tmp_path, "${X}\n", X="org/a --hash sha256:0").message
    assert "the variable NOBODY is not set" in refused(tmp_path, "\n\norg/${NOBODY}").message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("org/a --hash md5:00", "is no hash"),
        ("org/a --hash", "has no value"),
        ("org/a --colour red", "is not understood"),
        ("org/a org/b", "is not understood"),
        ("--hash sha256:" + HASH, "stands after a model"),
        ("--allow-licence mit", "stands among constraints"),
        ("org/a --format tar", "is no format"),
        ("org/a:Q8_0 --format safetensors", "a variant and --format"),
        ("org/a 'b", "quotation mark"),
        ("../etc", "a repo is named org/name"),
        ("-r nowhere.txt", "cannot read"),
        ("-i ftp://x", "is not an http"),
        ("-i https://one.example\n-i https://two.example", "names another index"),
        (f"org/a --hash sha256:{HASH}\norg/a", "has other hashes"),
        ("org/a --format safetensors --format gguf", "two formats"),
        ("--\x1b[2J", "control character"),
        ("-r \0", "control character"),
        ("--\u202e", "is not understood"),
    ],
)  # fmt: skip
def test_what_cannot_be_understood_names_its_line(tmp_path: Path, text: str, words: str) -> None:
    error = refused(tmp_path, "# first\n" + text)
    assert words in error.message
    assert not {"\x1b", "\0", "\u202e"} & set(error.message)
    assert "models.txt:" in error.message or "nowhere.txt" in error.message


@pytest.mark.parametrize(
    "text", ["org/a", "org/a@v1:Q8_0", "-r x.txt", "--allow-format tar", "--max-size lots"]
)
def test_constraints_hold_rules_and_nothing_else(tmp_path: Path, text: str) -> None:
    path = tmp_path / "policy.txt"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"policy\.txt:1"):
        read_requirements([], [path], {})


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "models.txt").write_bytes(b"org/a\n\xff\xfe")
    with pytest.raises(UsageError, match="not UTF-8"):
        read_requirements([tmp_path / "models.txt"], [], {})
    with pytest.raises(UsageError, match="cannot read"):
        read_requirements([tmp_path], [], {})


words = st.sampled_from(
    ["org/a", "org/b@v1", "org/c==2:Q8_0", "--hash", f"sha256:{HASH}", "-r", "models.txt", "-c", "--format", "gguf",
     "--include", "'a b'", '"', "#", "\\\n", "\n", "${A}", "-i", "https://h.example", "--no-index", "--max-size", "1G",
     "--", "-", "=", "\0"]
)  # fmt: skip


@given(st.one_of(st.text(), st.binary(), st.lists(words).map(" ".join)))
@settings(max_examples=150, deadline=None)
def test_whatever_a_file_holds_it_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: str | bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "models.txt"
    path.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass"))
    for files, constraints in (([path], []), ([], [path])):
        try:
            found = read_requirements(files, constraints, {"A": "org/x --no-index"})
        except HoldfastError:
            continue
        assert all(isinstance(one, Requirement) for one in found.models)


names = st.text(
    st.characters(codec="utf-8", exclude_characters="$", exclude_categories=["Cc", "Cs", "Zl", "Zp"]),
    min_size=1,
)


@given(st.lists(names, max_size=3), st.lists(names, max_size=3))
@settings(max_examples=50, deadline=None)
def test_a_line_reads_back_from_its_own_text(
    tmp_path_factory: pytest.TempPathFactory, include: list[str], exclude: list[str]
) -> None:
    options = [word for name in include for word in ("--include", name)]
    options += [word for name in exclude for word in ("--exclude", name)]
    requirement = parse_requirement(["org/a@v1", *options], "here")
    found = read(tmp_path_factory.getbasetemp(), requirement.text)
    assert found.models[0].patterns == requirement.patterns
    assert found.models[0].text == requirement.text


def write(home: Home, name: str, text: str) -> str:
    (home.folder / name).write_text(text)
    return name


def test_pull_takes_everything_that_a_list_wants(
    home: Home, hub: HoldfastHub, model: str, quants: str
) -> None:
    write(home, "common.txt", "org/quants-GGUF:Q8_0\n")
    listed = write(home, "models.txt", f"--index-url {hub.url}\norg/model//README.md\n-r common.txt\n")
    result = home.ok("pull", "-r", listed, HOLDFAST_INDEX_URL="http://127.0.0.1:1")
    assert [Path(line).name for line in result.stdout.splitlines()] == ["README.md", "quants-Q8_0.gguf"]


def test_pull_without_anything_to_pull_says_so(home: Home) -> None:
    home.fails("usage", "pull", exit_code=2)
    home.fails("usage", "pull", "-r", "nowhere.txt", exit_code=2)


def test_an_index_on_the_command_line_wins_over_the_lists(home: Home, hub: HoldfastHub, model: str) -> None:
    listed = write(home, "models.txt", "--index-url http://127.0.0.1:1\norg/model//README.md\n")
    assert home.ok("pull", "-r", listed, "-i", hub.url).path.name == "README.md"


def test_no_token_goes_to_an_index_that_a_list_names(home: Home, hub: HoldfastHub, model: str) -> None:
    listed = write(home, "models.txt", f"--index-url {hub.url}\norg/model//README.md\n")
    home.ok("pull", "-r", listed, HOLDFAST_INDEX_URL="http://127.0.0.1:1", HOLDFAST_TOKEN="hf_secret")
    assert hub.requests
    assert not any("authorization" in seen.headers for seen in hub.requests)


def test_revision_is_for_what_names_none(home: Home, hub: HoldfastHub, model: str) -> None:
    hub.tag("org/model", "v1.0", model)
    pulled = home.ok("pull", "org/model//README.md", "--revision", "v1.0", "--json").json["pulled"][0]
    assert pulled["revision"] == "v1.0"
    home.fails("usage", "pull", "org/model@main", "--revision", "v1.0", exit_code=2)


def test_a_hash_is_compared_before_anything_is_fetched(home: Home, hub: HoldfastHub, quants: str) -> None:
    good = sha256(noise(80_000, 8))
    home.ok("pull", "-r", write(home, "good.txt", f"org/quants-GGUF:Q8_0 --hash sha256:{good}\n"))
    hub.requests.clear()
    listed = write(home, "bad.txt", f"\norg/quants-GGUF:Q4_K_M --hash sha256:{HASH}\n")
    error = home.fails("hash_mismatch", "pull", "-r", listed)
    assert "bad.txt:2" in error["message"]
    assert (error["expected"], hub.seen("resolve")) == ([HASH], [])


def test_a_hash_that_names_no_file_is_stale(home: Home, hub: HoldfastHub, model: str) -> None:
    line = f"org/model --include config.json --hash sha256:{HASH}\n"
    error = home.fails("hash_mismatch", "pull", "-r", write(home, "models.txt", line))
    assert error["expected"] == [HASH]
    assert not (home.cache / "models--org--model" / "refs").exists(), "nothing was published"
    line = f"org/model --include config.json --hash sha256:{sha256(CONFIG)}\n"
    home.ok("pull", "-r", write(home, "models.txt", line))


def test_require_hashes_wants_one_for_every_file(home: Home, hub: HoldfastHub, model: str) -> None:
    weights = "org/model --include model-00001-of-00002.safetensors --include README.md"
    line = f"{weights} --hash sha256:{sha256(SMALL)}"
    home.ok("pull", "-r", write(home, "models.txt", line))
    home.fails("hash_mismatch", "pull", "-r", "models.txt", "--require-hashes", "--force")
    home.fails("hash_missing", "pull", "org/model//README.md", "--require-hashes")
    write(home, "models.txt", f"--require-hashes\n{line} --hash sha256:{sha256(CARD)}")
    home.ok("pull", "-r", "models.txt", "--force")


def test_small_files_with_other_bytes_than_pinned_are_not_kept(
    home: Home, hub: HoldfastHub, model: str
) -> None:
    line = f"--require-hashes\norg/model//config.json --hash sha256:{HASH}\n"
    home.fails("hash_mismatch", "pull", "-r", write(home, "models.txt", line))
    assert home.blobs() == {}
    assert home.leftovers() == []


@pytest.mark.usefixtures("model", "quants")
@pytest.mark.parametrize(
    ("rule", "reference"),
    [
        ("--allow-licence apache-2.0", "org/model"),
        ("--max-size 1M", "org/model"),
        ("--allow-format safetensors", "org/quants-GGUF:Q8_0"),
        ("org/model@v1.0", "org/model@main"),
    ],
)
def test_a_policy_refuses_and_names_its_line(home: Home, hub: HoldfastHub, rule: str, reference: str) -> None:
    write(home, "policy.txt", f"# what may be used\n{rule}\n")
    error = home.fails("policy_denied", "pull", reference, "-c", "policy.txt")
    assert error["rules"] == ["policy.txt:2"]
    assert hub.seen("resolve") == [] or {seen.path for seen in hub.seen("resolve")} == {"README.md"}


def test_a_policy_lets_through_what_it_allows(home: Home, hub: HoldfastHub) -> None:
    card = b"---\nlicense: apache-2.0 # free\ntags:\n- x\n---\n# Card\n"
    hub.add("org/free", {"README.md": card, "model.safetensors": SMALL})
    write(
        home,
        "policy.txt",
        "--allow-licence mit\n--allow-licence Apache-2.0\n--allow-format safetensors\n--max-size 1M\n",
    )
    home.ok("pull", "org/free", "-c", "policy.txt")
    home.ok("pull", "org/free", "-c", "policy.txt", "--offline")


def test_a_verdict_is_required_of_the_index(home: Home, hub: HoldfastHub, quants: str) -> None:
    reference = "org/quants-GGUF:Q8_0"
    assert home.fails("not_validated", "pull", reference, "--require-validated")["paths"] == [
        "quants-Q8_0.gguf"
    ]
    hub.judge("org/quants-GGUF", "quants-Q8_0.gguf", "partial", passed=False)
    assert "partial" in home.fails("not_validated", "pull", reference, "--require-validated")["message"]
    assert hub.seen("resolve") == []
    hub.judge("org/quants-GGUF", "quants-Q8_0.gguf", "verified", passed=True)
    home.ok("pull", reference, "--require-validated")


def test_a_plain_hub_has_no_verdicts(home: Home, hub: HoldfastHub, quants: str) -> None:
    hub.fault("status", on="validations", status=404)
    home.fails("not_validated", "pull", "org/quants-GGUF:Q8_0", HOLDFAST_REQUIRE_VALIDATED="1")


def test_no_index_on_the_command_line_holds_for_lists_too(home: Home, hub: HoldfastHub, model: str) -> None:
    listed = write(home, "models.txt", f"--index-url {hub.url}\norg/model//README.md\n")
    home.fails("usage", "pull", "-r", listed, "--no-index", exit_code=2)
    assert hub.requests == []


def test_what_fails_names_the_line_that_asked_for_it(home: Home, hub: HoldfastHub, quants: str) -> None:
    listed = write(home, "models.txt", "\norg/quants-GGUF\n")
    for command in (("pull", "-r", listed), ("lock",)):
        error = home.fails("ambiguous_variant", *command)
        assert (error["place"], error["message"].split(": ")[0]) == ("models.txt:2", "models.txt:2")
    write(home, "models.txt", "org/nothing\n")
    assert home.fails("not_found", "lock", exit_code=23)["place"] == "models.txt:1"
