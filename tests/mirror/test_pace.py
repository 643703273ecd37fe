"""Every process asks an upstream at one pace: what one of them is told slows all of them down."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone

from mirror.opening import open_client
from mirror.pace import SharedPace
from mirror.sync import submit_mirror
from mirror.upstream import UpstreamRef, parse_upstream_ref
from mirror.upstream.base import NotOurTurn, UpstreamClient
from mirror.upstream.pace import Allowance, allowance_of
from registry import work
from registry.models import Upstream
from tests.services.deployment import Deployment
from tests.services.hub import Hub, Limit
from tests.services.processes import free_port, wait_for

pytestmark = pytest.mark.django_db(transaction=True)

FILES: dict[str, Any] = {"config.json": b"{}", "README.md": b"# A model\n", "a.bin": b"abc"}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as running:
        running.add("org/model", FILES)
        yield running


@pytest.fixture
def endpoint() -> str:
    """A place of its own in what this process remembers; nothing is there."""
    return f"http://127.0.0.1:{free_port()}"


def client_of(hub: Hub, patience_seconds: float = 10) -> UpstreamClient:
    ref = parse_upstream_ref(f"hf+{hub.url}/org/model")
    return open_client(ref, patience_seconds=patience_seconds)


def pace_of(endpoint: str, patience_seconds: float = 10) -> SharedPace:
    return SharedPace("huggingface", endpoint, endpoint, patience_seconds=patience_seconds)


def row_of(endpoint: str, **values: Any) -> Upstream:
    row, _ = Upstream.objects.update_or_create(kind="huggingface", endpoint=endpoint, defaults=values)
    return row


def seconds_for(act: Callable[[], Any]) -> float:
    began = time.monotonic()
    act()
    return time.monotonic() - began


# --- a rate -----------------------------------------------------------------------------------------------


def test_without_a_limit_a_turn_costs_no_query(endpoint: str, django_assert_num_queries: Any) -> None:
    row_of(endpoint)
    pace = pace_of(endpoint)
    pace.take_turn()
    with django_assert_num_queries(0):
        for _ in range(100):
            pace.take_turn()


def test_turns_of_many_threads_are_spaced_evenly(endpoint: str) -> None:
    row_of(endpoint, requests_per_second=40)
    turns: list[float] = []

    def ask() -> None:
        for _ in range(5):
            pace_of(endpoint).take_turn()
            turns.append(time.monotonic())
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    took = seconds_for(
        lambda: [thread.start() for thread in threads] and [thread.join() for thread in threads]
    )
    assert took >= 19 / 40 - 0.05
    turns.sort()
    per_quarter = [sum(at <= turn < at + 0.25 for turn in turns) for at in turns]
    assert max(per_quarter) <= 0.25 * 40 + 5


def test_a_turn_that_is_too_far_off_is_refused_and_not_reserved(endpoint: str) -> None:
    row_of(endpoint, requests_per_second=0.1)
    pace = pace_of(endpoint, patience_seconds=1)
    pace.take_turn()
    before = row_of(endpoint).next_request_at
    with pytest.raises(NotOurTurn) as refused:
        pace.take_turn()
    assert 8 < refused.value.retry_after_seconds <= 10
    assert row_of(endpoint).next_request_at == before


def test_the_lesser_of_what_is_set_and_what_was_learned_counts(endpoint: str) -> None:
    row_of(endpoint, requests_per_second=1000, learned_per_second=10, ceiling_per_second=10)
    pace = pace_of(endpoint)
    assert seconds_for(lambda: [pace.take_turn() for _ in range(5)]) >= 4 / 10 - 0.05


def test_a_process_without_a_database_still_asks(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    row_of(endpoint, requests_per_second=50)
    pace = pace_of(endpoint)
    pace.take_turn()
    monkeypatch.setitem(connection.settings_dict, "NAME", "/nonexistent/database")
    connection.close()
    took = seconds_for(lambda: [pace.take_turn() for _ in range(3)])
    monkeypatch.undo()
    connection.close()
    assert took < 5


# --- a pause ----------------------------------------------------------------------------------------------


def test_a_refusal_pauses_every_process_and_slows_all_down_once(endpoint: str) -> None:
    pace = pace_of(endpoint)
    for _ in range(5):
        pace.refused(100)
    row = row_of(endpoint)
    assert row.paused_until is not None
    assert timedelta(seconds=95) < row.paused_until - timezone.now() < timedelta(seconds=101)
    first = row.learned_per_second
    assert first == 2
    with pytest.raises(NotOurTurn):
        pace.take_turn()
    row_of(endpoint, paused_until=timezone.now() - timedelta(seconds=1))
    pace.refused(0.01)
    row = row_of(endpoint)
    assert (row.learned_per_second, row.ceiling_per_second) == (pytest.approx(1), pytest.approx(1.25))


def test_a_refusal_long_after_the_last_costs_a_fifth_and_one_soon_after_it_a_half(endpoint: str) -> None:
    for learned, expected in ((10.0, 8.0), (8.1, 4.05)):
        row_of(endpoint, learned_per_second=learned, ceiling_per_second=10, paused_until=None)
        pace_of(endpoint).refused(1)
        assert row_of(endpoint).learned_per_second == pytest.approx(expected)


def test_a_pause_that_another_process_began_is_noticed_within_a_second(endpoint: str) -> None:
    row_of(endpoint)
    pace = pace_of(endpoint)
    pace.take_turn()
    row_of(endpoint, paused_until=Now() + timedelta(seconds=60))
    wait_for(lambda: is_refused(pace), seconds=3)


def is_refused(pace: SharedPace) -> bool:
    try:
        pace.take_turn()
    except NotOurTurn:
        return True
    return False


def test_an_operator_who_ends_a_pause_is_obeyed_at_once(endpoint: str) -> None:
    pace = pace_of(endpoint)
    pace.refused(100)
    row_of(endpoint, paused_until=None, learned_per_second=None)
    pace.take_turn()


def test_a_short_pause_is_waited_for(endpoint: str) -> None:
    pace = pace_of(endpoint)
    pace.refused(0.3)
    assert 0.2 < seconds_for(pace.take_turn) < 2


def test_a_good_answer_that_little_is_left_begins_to_space_requests(endpoint: str) -> None:
    pace = pace_of(endpoint)
    pace.answered(Allowance(11, 55))
    assert row_of(endpoint).learned_per_second is None
    pace.answered(Allowance(10, 55))
    assert row_of(endpoint).learned_per_second == 2
    assert seconds_for(lambda: [pace.take_turn() for _ in range(3)]) >= 0.8


def test_a_good_answer_that_nothing_is_left_pauses_before_the_429(hub: Hub) -> None:
    hub.limit = Limit(2, seconds=30, is_announced=True)
    with pytest.raises(NotOurTurn):
        client_of(hub, patience_seconds=0).resolve("org/model", "main") and client_of(hub, 0).list_refs(
            "org/model"
        )
    assert hub.limit.n_refused == 0


@pytest.mark.one_backend
@pytest.mark.parametrize(
    ("header", "allowance"),
    [
        ('"api";r=0;t=55', Allowance(0, 55)),
        ('"api"; r=12 ; t=3', Allowance(12, 3)),
        ('"api";r=0', None),
        ("", None),
        ('"api";r=-1;t=5', None),
        ('"api";r=99999999999999999999;t=1', Allowance(999999999999, 1)),
    ],
)
def test_what_a_hub_says_is_left_is_read(header: str, allowance: Allowance | None) -> None:
    assert allowance_of({"RateLimit": header}) == allowance


def test_what_was_learned_grows_and_is_forgotten_after_a_while(endpoint: str) -> None:
    row_of(endpoint, learned_per_second=500, ceiling_per_second=500, paused_until=timezone.now())
    pace = pace_of(endpoint)
    for _ in range(10):
        pace.take_turn()
    assert row_of(endpoint).learned_per_second == pytest.approx(500.02)
    row_of(endpoint, learned_per_second=500, ceiling_per_second=None)
    for _ in range(10):
        pace.take_turn()
    assert row_of(endpoint).learned_per_second == pytest.approx(500 * 1.02**10)
    stale = UpstreamRef("huggingface", f"{endpoint}0", "org/model").endpoint
    row_of(
        stale, learned_per_second=5, ceiling_per_second=5, paused_until=timezone.now() - timedelta(hours=2)
    )
    pace_of(stale).take_turn()
    assert row_of(stale).learned_per_second is None


# --- how it is --------------------------------------------------------------------------------------------


def test_the_row_says_when_upstream_answered_and_what_went_wrong(hub: Hub) -> None:
    client = client_of(hub)
    client.resolve("org/model", "main")
    hub.fault("status", status=503, on="refs")
    with pytest.raises(Exception, match="status 503"):
        client.list_refs("org/model")
    row = row_of(hub.url)
    assert row.answered_at is not None
    assert row.trouble_at is not None
    assert (row.trouble, row.answered_at <= row.trouble_at) == ("status 503", True)


def test_health_is_written_every_few_seconds_not_for_every_answer(
    endpoint: str, django_assert_num_queries: Any
) -> None:
    pace = pace_of(endpoint)
    pace.answered(None)
    with django_assert_num_queries(0):
        for _ in range(50):
            pace.answered(None)


# --- jobs -------------------------------------------------------------------------------------------------


def test_a_job_whose_turn_is_far_off_frees_its_worker_and_says_why(hub: Hub) -> None:
    row_of(hub.url, paused_until=Now() + timedelta(seconds=300))
    job = submit_mirror(parse_upstream_ref(f"hf+{hub.url}/org/model"), send_nudge=False)
    assert seconds_for(lambda: work.run_job(job.pk)) < 5
    job.refresh_from_db()
    assert (job.state, job.error_code, job.attempts) == ("queued", "not-our-turn", 0)
    assert job.run_after > timezone.now() + timedelta(seconds=250)
    assert hub.requests == []


# --- the gate ---------------------------------------------------------------------------------------------

# Runs inside `manage.py shell`: several threads that ask as fast as they may; one that is refused asks again.
ASK = """
import json, threading, time
from django.db import connection
from mirror.opening import open_client
from mirror.upstream import parse_upstream_ref
from mirror.upstream.base import RateLimited
from registry.models import Upstream
Upstream.objects.get_or_create(kind="huggingface", endpoint="{url}", defaults={{"requests_per_second": {per_second}}})
client = open_client(parse_upstream_ref("hf+{url}/org/model"), patience_seconds={patience})
told = []
def ask():
    for _ in range({n_each}):
        while True:
            try:
                told.append(len(client.list_refs("org/model")))
                break
            except RateLimited as limit:
                time.sleep(limit.retry_after_seconds)
    connection.close()
threads = [threading.Thread(target=ask) for _ in range({n_threads})]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("TOLD" + json.dumps(len(told)))
"""


def ask_from_processes(deployment: Deployment, hub: Hub, *, n_processes: int, **how: Any) -> int:
    """How many answers several processes got together."""
    script = ASK.format(url=hub.url, **{"per_second": None} | how)
    running = [deployment.start("shell", "-c", script, name=f"asking-{n}") for n in range(n_processes)]
    for process in running:
        assert process.process.wait(3600) == 0, process.tail()
    return sum(int(json.loads(process.tail().rpartition("TOLD")[2])) for process in running)


def test_processes_that_share_a_limit_are_hardly_ever_refused(deployment: Deployment, hub: Hub) -> None:
    hub.limit = Limit(25, seconds=0.5)  # 18 of our turns, and the 6 that may come late from before
    n_answers = ask_from_processes(
        deployment, hub, n_processes=2, n_threads=3, n_each=25, patience=10, per_second=36
    )
    assert n_answers == 150 == hub.limit.n_allowed
    assert hub.limit.n_refused <= 1


@pytest.mark.soak
@pytest.mark.parametrize("limit", [
    Limit(10, seconds=1), Limit(10, seconds=1, is_announced=True), Limit(100, seconds=10), Limit(50, seconds=1)
], ids=["10/s", "10/s announced", "100/10s", "50/s"])  # fmt: skip
def test_a_limit_that_nobody_told_us_of_is_learned_and_kept_to(
    deployment: Deployment, hub: Hub, limit: Limit
) -> None:
    hub.limit = limit
    ask_from_processes(deployment, hub, n_processes=2, n_threads=4, n_each=75, patience=30)
    learned_at, allowed_at = limit.n_refused, limit.n_allowed
    n_answers = ask_from_processes(deployment, hub, n_processes=4, n_threads=4, n_each=125, patience=30)
    assert n_answers == 2000
    refused, allowed = limit.n_refused - learned_at, limit.n_allowed - allowed_at
    print(
        f"{limit}: {refused} of {refused + allowed} refused; {learned_at} of {learned_at + allowed_at} while learning"
    )
    assert refused <= 0.01 * (refused + allowed)


@pytest.mark.soak
def test_many_jobs_of_two_workers_against_a_limit_all_succeed_and_hold_every_byte(
    deployment: Deployment, hub: Hub
) -> None:
    names = [f"org/model-{n}" for n in range(60)]
    for n, name in enumerate(names):
        hub.add(name, {**FILES, "weights.safetensors": bytes([n]) * 1000})
    hub.limit = Limit(10, seconds=1)
    submit = (
        "from mirror.sync import submit_mirror\nfrom mirror.upstream import parse_upstream_ref\n"
        + "\n".join(f'submit_mirror(parse_upstream_ref("hf+{hub.url}/{name}"))' for name in names)
    )
    deployment.manage("shell", "-c", submit)
    for name in ("one", "two"):
        deployment.start_worker(name)
    jobs = deployment.wait_for_jobs(seconds=1800)
    states = {job["state"] for job in jobs if job["kind"] == "mirror"}
    assert states == {"succeeded"}
    assert deployment.manage_json("audit")["findings"] == []
    refused = hub.limit.n_refused
    print(f"{refused} of {hub.limit.n_allowed + refused} refused")
    assert refused <= 20 + 0.01 * hub.limit.n_allowed
