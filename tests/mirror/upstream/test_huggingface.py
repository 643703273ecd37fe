"""The client of a Hub-compatible endpoint, against a real one that can lie."""

import socket
import threading
from collections.abc import Iterator

import pytest

from mirror.upstream import open_upstream
from mirror.upstream.base import (
    AccessDenied,
    AddressRefused,
    BadAnswer,
    BadListing,
    EntryNotFound,
    RateLimited,
    RemoteFile,
    RepoNotFound,
    RevisionNotFound,
    UpstreamUnavailable,
    WrongBytes,
)
from mirror.upstream.http import Timeouts
from mirror.upstream.huggingface import HuggingFace
from tests.services.hub import Hub

WEIGHTS = bytes(range(256)) * 20_000
FILES = {"config.json": b"{}", "deep/er/a%25b#c.txt": b"odd name", "empty": b"", "model.safetensors": WEIGHTS}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub(page_size=2, xet=True) as running:
        running.add("org/model", FILES, title="First weights", card={"license": "mit"})
        yield running


@pytest.fixture
def client(hub: Hub) -> HuggingFace:
    return HuggingFace(hub.url, timeouts=Timeouts(connect_seconds=2, read_seconds=1))


def head(hub: Hub) -> str:
    return hub.repos["org/model"].branches["main"]


def files_of(client: HuggingFace, hub: Hub) -> dict[str, RemoteFile]:
    return {file.path: file for file in client.list_files("org/model", head(hub))}


def read(client: HuggingFace, hub: Hub, path: str = "model.safetensors", start: int = 0) -> bytes:
    file = files_of(client, hub)[path]
    with client.open("org/model", head(hub), file, start) as pieces:
        return b"".join(pieces)


def test_a_branch_a_tag_and_a_hash_resolve_to_the_commit(client: HuggingFace, hub: Hub) -> None:
    commit_hash = head(hub)
    hub.tag("org/model", "v1/final", commit_hash)
    for revision in ("main", "v1/final", commit_hash):
        assert client.resolve("org/model", revision).commit_hash == commit_hash


def test_a_commit_carries_its_title_author_date_and_what_the_hub_says(client: HuggingFace) -> None:
    commit = client.resolve("org/model", "main")
    assert (commit.title, commit.author) == ("First weights", "ada")
    assert commit.committed_at is not None
    assert commit.committed_at.isoformat() == "2026-01-02T03:04:05+00:00"
    assert commit.info["cardData"] == {"license": "mit"}


def test_xet_data_is_not_passed_on(client: HuggingFace) -> None:
    assert not [key for key in client.resolve("org/model", "main").info if "xet" in key.lower()]


def test_a_hub_without_history_still_resolves(client: HuggingFace, hub: Hub) -> None:
    hub.fault("status", status=404, on="commits")
    commit = client.resolve("org/model", "main")
    assert commit.commit_hash == head(hub)
    assert commit.title == ""


def test_the_listing_is_read_over_all_pages(client: HuggingFace, hub: Hub) -> None:
    truth = hub.repos["org/model"].commits[head(hub)].files
    listed = files_of(client, hub)
    assert {path: (file.size_bytes, file.git_oid, file.lfs_sha256) for path, file in listed.items()} == {
        path: (entry.size, entry.git_oid, entry.sha256 if entry.is_lfs else None)
        for path, entry in truth.items()
    }
    assert len(hub.seen("tree")) > 2


def test_branches_and_tags_are_listed(client: HuggingFace, hub: Hub) -> None:
    hub.tag("org/model", "v1", head(hub))
    hub.add("org/model", FILES, branch="next")
    refs = {(ref.kind, ref.name): ref.commit_hash for ref in client.list_refs("org/model")}
    assert refs == {
        ("branch", "main"): head(hub),
        ("branch", "next"): hub.repos["org/model"].branches["next"],
        ("tag", "v1"): head(hub),
    }


@pytest.mark.parametrize("path", FILES)
def test_every_file_arrives_unchanged(client: HuggingFace, hub: Hub, path: str) -> None:
    assert read(client, hub, path) == FILES[path]


@pytest.mark.parametrize("start", [1, 1023, 1024, 1025, 1 << 20, len(WEIGHTS) - 1])
def test_reading_goes_on_at_any_byte(client: HuggingFace, hub: Hub, start: int) -> None:
    assert read(client, hub, start=start) == WEIGHTS[start:]
    assert hub.seen("resolve")[-1].headers["range"] == f"bytes={start}-"


@pytest.mark.parametrize("lie", ["ignore-range", "wrong-206"])
def test_a_server_that_gets_ranges_wrong_never_shifts_the_bytes(
    client: HuggingFace, hub: Hub, lie: str
) -> None:
    hub.fault(lie)
    assert read(client, hub, start=3_000_001) == WEIGHTS[3_000_001:]


def test_large_files_come_from_the_redirect_target_without_our_token() -> None:
    with Hub(cdn=True, token="hf_secret") as hub:
        hub.add("org/model", FILES)
        client = HuggingFace(hub.url, token="hf_secret", allow=frozenset({hub.cdn_address or ""}))
        assert read(client, hub) == WEIGHTS
        assert read(client, hub, start=100) == WEIGHTS[100:]
        assert all(seen.headers.get("authorization") == "Bearer hf_secret" for seen in hub.seen("resolve"))
        assert [seen.headers.get("authorization") for seen in hub.seen("cdn")] == [None, None]


def test_a_redirect_to_a_port_that_was_not_named_is_refused() -> None:
    with Hub(cdn=True) as hub:
        hub.add("org/model", FILES)
        with pytest.raises(AddressRefused, match="loopback"):
            read(HuggingFace(hub.url), hub)
        assert hub.seen("cdn") == []


@pytest.mark.parametrize(
    "target",
    ["http://169.254.169.254/latest/", "http://localhost:1/", "file:///etc/passwd", "http://[::1]:1/"],
)
def test_a_redirect_inwards_is_refused(client: HuggingFace, hub: Hub, target: str) -> None:
    hub.fault("redirect", to=target)
    with pytest.raises(AddressRefused):
        read(client, hub)


def test_a_next_page_on_another_host_is_refused(hub: Hub) -> None:
    with Hub() as other:
        other.add("org/model", FILES)
        hub.url_of_next_page = other.url
        client = HuggingFace(hub.url)
        with pytest.raises(AddressRefused):
            client.list_files("org/model", head(hub))
        assert other.requests == []


def test_a_circle_of_redirects_ends(client: HuggingFace, hub: Hub) -> None:
    hub.fault("redirect", to=f"{hub.url}/org/model/resolve/main/model.safetensors")
    with pytest.raises(UpstreamUnavailable, match="redirects"):
        read(client, hub)


def test_the_connection_goes_to_the_address_that_was_checked(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that means another machine the second time it is asked (DNS rebinding) gains nothing."""
    answers = iter(["127.0.0.1"])
    real = socket.getaddrinfo

    def answer(host: str, *args: object, **kwargs: object) -> object:
        return real(next(answers) if host == "hub.example" else host, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    client = HuggingFace(f"http://hub.example:{hub.port}")
    assert client.resolve("org/model", "main").commit_hash == head(hub)
    assert hub.requests[0].headers["host"] == f"hub.example:{hub.port}"


# --- errors -----------------------------------------------------------------------------------------------


def test_an_unknown_repo_revision_and_file_are_named(client: HuggingFace, hub: Hub) -> None:
    with pytest.raises(RepoNotFound, match=r"org/none does not exist .* token"):
        client.resolve("org/none", "main")
    with pytest.raises(RevisionNotFound, match=r"org/model .* no revision 'none'"):
        client.resolve("org/model", "none")
    with (
        pytest.raises(EntryNotFound, match=r"org/model@.* none\.txt"),
        client.open("org/model", head(hub), RemoteFile("none.txt", 1, "0" * 40)),
    ):
        pass


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (401, "GatedRepo", AccessDenied), (403, "GatedRepo", AccessDenied), (401, "", AccessDenied),
        (403, "", AccessDenied), (401, "RepoNotFound", RepoNotFound), (404, "RepoNotFound", RepoNotFound),
        (404, "", RepoNotFound), (404, "RevisionNotFound", RevisionNotFound), (418, "", BadAnswer),
    ],
)  # fmt: skip
def test_a_status_means_what_the_hub_means_by_it(
    client: HuggingFace, hub: Hub, status: int, code: str, error: type[Exception]
) -> None:
    hub.fault("status", status=status, error_code=code, on="info")
    with pytest.raises(error, match="org/model"):
        client.resolve("org/model", "main")


def test_a_gated_repo_has_its_own_code(client: HuggingFace, hub: Hub) -> None:
    hub.fault("status", status=403, error_code="GatedRepo", on="info")
    with pytest.raises(AccessDenied) as refusal:
        client.resolve("org/model", "main")
    assert refusal.value.code == "gated-repo"


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_short_trouble_is_waited_out(client: HuggingFace, hub: Hub, status: int) -> None:
    hub.fault("status", status=status, on="info", times=2)
    assert client.resolve("org/model", "main").commit_hash == head(hub)


def test_a_long_trouble_is_unavailable_and_worth_a_retry(client: HuggingFace, hub: Hub) -> None:
    hub.fault("status", status=502, on="info")
    with pytest.raises(UpstreamUnavailable, match="status 502") as trouble:
        client.resolve("org/model", "main")
    assert trouble.value.retryable


@pytest.mark.parametrize(
    ("said", "least", "most"),
    [("7", 7, 7), ("soon", 60, 60), ("", 60, 60), ("-5", 60, 60), ("999999999999999", 3600, 3600), ("0", 1, 60),
     ("Fri, 01 Jan 2100 00:00:00 GMT", 3600, 3600), ("Fri, 01 Jan 1999 00:00:00 GMT", 1, 1), ("1e9", 60, 60)],
)  # fmt: skip
def test_a_rate_limit_says_how_long_whatever_upstream_wrote(
    client: HuggingFace, hub: Hub, said: str, least: float, most: float
) -> None:
    hub.fault("status", status=429, retry_after=said, on="info")
    with pytest.raises(RateLimited) as limit:
        client.resolve("org/model", "main")
    assert least <= limit.value.retry_after_seconds <= most
    assert len(hub.seen("info")) == 1


def test_nobody_listening_is_unavailable() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UpstreamUnavailable, match="refused"):
        HuggingFace(f"http://127.0.0.1:{port}").resolve("org/model", "main")


def test_a_server_that_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        client = HuggingFace(url, timeouts=Timeouts(connect_seconds=1, read_seconds=0.05))
        with pytest.raises(UpstreamUnavailable, match=r"(?i)time"):
            client.resolve("org/model", "main")


@pytest.mark.parametrize("on", ["info", "tree", "refs"])
def test_a_web_page_instead_of_json_is_no_hub(client: HuggingFace, hub: Hub, on: str) -> None:
    hub.fault("not-json", on=on)
    ask = {
        "info": lambda: client.resolve("org/model", "main"),
        "tree": lambda: client.list_files("org/model", head(hub)),
        "refs": lambda: client.list_refs("org/model"),
    }[on]
    with pytest.raises(BadAnswer, match="not JSON"):
        ask()


def test_a_listing_that_names_itself_as_next_page_ends(client: HuggingFace, hub: Hub) -> None:
    hub.fault("list-loop")
    with pytest.raises(BadListing, match="does not end"):
        client.list_files("org/model", head(hub))


@pytest.mark.parametrize("lie", [{"by": -100_000_000}])
def test_a_negative_size_is_refused(client: HuggingFace, hub: Hub, lie: dict[str, int]) -> None:
    hub.fault("list-size", path="config.json", **lie)
    with pytest.raises(BadListing, match=r"config\.json"):
        client.list_files("org/model", head(hub))


# --- bytes that are not the file --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "how", "code"),
    [
        ("html", {}, "html-instead-of-file"), ("pointer", {}, "pointer-instead-of-file"),
        ("truncate", {"at": 5000}, "wrong-size"), ("list-size", {"by": 1}, "wrong-size"),
        ("list-size", {"by": -1}, "wrong-size"),
    ],
)  # fmt: skip
def test_what_cannot_be_the_file_is_refused_before_it_is_read(
    client: HuggingFace, hub: Hub, fault: str, how: dict[str, int], code: str
) -> None:
    hub.fault(fault, path="model.safetensors", **how)
    with pytest.raises(WrongBytes) as wrong:
        read(client, hub)
    assert wrong.value.code == code
    assert "org/model@" in str(wrong.value)
    assert "model.safetensors" in str(wrong.value)


def test_a_web_page_that_belongs_to_the_repo_is_a_file_like_any_other() -> None:
    page = b"<!DOCTYPE html><html>a model card</html>"
    with Hub() as hub:
        hub.add("org/model", {"index.html": page, "notes.txt": page})
        client = HuggingFace(hub.url)
        assert read(client, hub, "index.html") == page
        assert read(client, hub, "notes.txt") == page


@pytest.mark.parametrize("at", [0, 1, 1024, 2_000_000])
def test_a_cut_connection_gives_what_came_and_says_so(client: HuggingFace, hub: Hub, at: int) -> None:
    hub.fault("cut", path="model.safetensors", at=at)
    file = files_of(client, hub)["model.safetensors"]
    got: list[bytes] = []
    with pytest.raises(UpstreamUnavailable) as cut, client.open("org/model", head(hub), file) as pieces:
        got.extend(pieces)
    assert WEIGHTS.startswith(b"".join(got))
    assert sum(map(len, got)) <= at
    assert cut.value.reason.count("IncompleteRead") <= 1, cut.value.reason


def test_a_stalled_connection_is_given_up(client: HuggingFace, hub: Hub) -> None:
    hub.fault("stall", path="model.safetensors", at=2000)
    with pytest.raises(UpstreamUnavailable):
        read(client, hub)


def test_bytes_of_another_commit_are_refused(client: HuggingFace, hub: Hub) -> None:
    file = files_of(client, hub)["config.json"]
    with pytest.raises(WrongBytes) as wrong, client.open("org/model", "main", file) as pieces:
        next(pieces)
    assert wrong.value.code == "wrong-commit"


def test_many_threads_share_one_client(client: HuggingFace, hub: Hub) -> None:
    got: list[bytes] = []
    threads = [threading.Thread(target=lambda: got.append(read(client, hub))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [WEIGHTS] * 6


def test_a_dataset_is_asked_for_as_a_dataset(hub: Hub) -> None:
    client = open_upstream("huggingface", hub.url, repo_type="dataset")
    with pytest.raises(RepoNotFound):
        client.resolve("org/model", "main")
    assert hub.requests[0].target.startswith("/api/datasets/org/model")
