import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from registry.models import Job, Repo
from registry.views.job_words import JobView
from tests.registry.views.seed import MEGA, make_job, make_repo

pytestmark = pytest.mark.django_db

HALFWAY = {"bytes_done": 500 * MEGA, "bytes_total": 2000 * MEGA, "phase": "fetching"}


@pytest.fixture
def repo(db: None) -> Repo:
    return make_repo("kelp/open-8b")


def page(client: Client, job: Job, query: str = "") -> str:
    response = client.get(f"/jobs/{job.pk}{query}")
    assert response.status_code == 200
    return response.content.decode()


def test_a_running_job_tells_bytes_rate_time_left_and_phases(client: Client, repo: Repo) -> None:
    job = make_job(repo, "mirror", "running", **HALFWAY)
    Job.objects.filter(pk=job.pk).update(started_at=timezone.now() - timedelta(seconds=100))
    html = page(client, job)
    assert ">500 MB</data>" in html
    assert ">2.00 GB</data>" in html
    assert "25.0\u202f%" in html
    assert re.search(r"(4\.9\d|5\.00) MB/s", html)
    assert "about 5 min" in html
    assert '<li aria-current="step">Fetching' in html
    assert '<progress class="progress-big" max="1" value="0.2500"' in html


def test_the_rate_of_now_comes_from_an_earlier_reading(repo: Repo) -> None:
    job = make_job(repo, "mirror", "running", **HALFWAY)
    view = JobView(job, full=True, sample=(timezone.now() - timedelta(seconds=10), 400 * MEGA))
    assert view.bytes_per_second == pytest.approx(10 * MEGA, rel=0.01)
    assert view.seconds_left == pytest.approx(150, rel=0.01)


@pytest.mark.parametrize(
    "since", ["", "x", "nan:1", "inf:1", "1e400:5", "1:2:3", "-5:-5", ":", "9" * 400 + ":1"]
)
def test_a_nonsensical_reading_is_ignored(client: Client, repo: Repo, since: str) -> None:
    job = make_job(repo, "mirror", "running", **HALFWAY)
    assert "since it started" in page(client, job, f"?since={since}")


def test_the_live_part_is_a_fragment_that_says_whether_to_ask_again(client: Client, repo: Repo) -> None:
    running, done = make_job(repo, "mirror", "running", **HALFWAY), make_job(repo)
    fragment = page(client, running, "?part=live")
    assert fragment.startswith("<section")
    assert 'data-running="1"' in fragment
    assert "<html" not in fragment
    assert 'data-running="0"' in page(client, done, "?part=live")


def test_without_script_a_live_page_reloads_itself_and_a_finished_one_does_not(
    client: Client, repo: Repo
) -> None:
    refresh = '<noscript><meta http-equiv="refresh"'
    assert refresh in page(client, make_job(repo, "mirror", "running"))
    assert refresh not in page(client, make_job(repo))


def test_a_failed_job_says_why_and_what_next(client: Client, repo: Repo) -> None:
    job = make_job(repo, "mirror", "failed", error_code="access-denied",
                   error_message="upstream asks for accepted terms. Accept them, then retry the job.")  # fmt: skip
    html = page(client, job)
    assert "access-denied" in html
    assert "Accept them, then retry the job." in html


def test_a_job_that_waits_says_for_what(client: Client, repo: Repo) -> None:
    job = make_job(repo, "mirror", "queued", error_code="rate-limited", error_message="upstream said: wait",
                   run_after=timezone.now() + timedelta(minutes=5))  # fmt: skip
    html = page(client, job)
    assert "It will be tried again: rate-limited." in html
    assert "starts in 4 min" in html or "starts in 5 min" in html


def test_the_list_puts_what_runs_first_and_narrows_by_state(client: Client, repo: Repo) -> None:
    done, queued = make_job(repo), make_job(repo, state="queued", kind="inspect")
    running = make_job(repo, state="running", **HALFWAY)
    html = client.get("/jobs").content.decode()
    places = [html.index(f'href="/jobs/{job.pk}"') for job in (running, queued, done)]
    assert places == sorted(places)
    only = client.get("/jobs?state=queued").content.decode()
    assert f'href="/jobs/{queued.pk}"' in only
    assert f'href="/jobs/{done.pk}"' not in only


def test_a_long_list_is_paged(client: Client, repo: Repo) -> None:
    for _ in range(60):
        make_job(repo)
    first = client.get("/jobs").content.decode()
    assert "1 to 25 of 60" in first
    assert 'href="/jobs?page=2"' in first
    assert "51 to 60 of 60" in client.get("/jobs?page=3").content.decode()
    assert "51 to 60 of 60" in client.get("/jobs?page=99").content.decode()


def test_only_staff_see_jobs_of_no_repo_and_the_paths_of_this_machine(
    client: Client, repo: Repo, alice: User, bob: User
) -> None:
    secret = "/srv/weights/secret-project"
    params = {"kind": "directory", "endpoint": secret, "upstream_repo_id": "a/b", "revision": "main"}
    orphan = make_job(None, state="queued", params=params)
    failed = make_job(repo, state="failed", params=params, error_code="x", error_message=f"{secret} is empty")
    client.force_login(bob)
    assert client.get(f"/jobs/{orphan.pk}").status_code == 404
    assert secret not in page(client, failed) + client.get("/jobs").content.decode()
    client.force_login(alice)
    assert secret in page(client, orphan)
    assert f"{secret} is empty" in page(client, failed)


def test_staff_cancel_and_retry(client: Client, repo: Repo, alice: User) -> None:
    job = make_job(repo, "mirror", "queued")
    client.force_login(alice)
    assert "Cancel job" in page(client, job)
    assert client.post(f"/jobs/{job.pk}/cancel").url == f"/jobs/{job.pk}"
    job.refresh_from_db()
    assert job.state == "cancelled"
    html = page(client, job)
    assert f"Job {job.pk} will stop." in html
    assert "Retry" in html
    answer = client.post(f"/jobs/{job.pk}/retry")
    again = Job.objects.get(state="queued")
    assert answer.url == f"/jobs/{again.pk}"
    assert (again.kind, again.key) == (job.kind, job.key)


def test_others_cannot_cancel_or_retry(client: Client, repo: Repo, bob: User) -> None:
    job = make_job(repo, "mirror", "queued")
    for user in (None, bob):
        if user:
            client.force_login(user)
        assert "Cancel job" not in page(client, job)
        answer = client.post(f"/jobs/{job.pk}/cancel")
        assert answer.status_code == 302
        assert answer.url.startswith("/account/sign-in")
    assert client.get(f"/jobs/{job.pk}/cancel").status_code == 405
    assert Job.objects.get().state == "queued"


def test_a_form_from_another_site_is_refused(repo: Repo, alice: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    job = make_job(repo, "mirror", "queued")
    assert client.post(f"/jobs/{job.pk}/cancel").status_code == 403
    assert Job.objects.get().state == "queued"
