"""Jobs: the list, and one job live. Without JavaScript the pages reload themselves; with it fragments are swapped."""

import math
from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import user_passes_test
from django.db.models import Case, Count, IntegerField, Q, Value, When
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST

from registry.access import may_operate, visible_jobs
from registry.models import Event, Job
from registry.models.job import STATES
from registry.views.events import told
from registry.views.job_words import JobView
from registry.views.paging import pages_of
from registry.work import cancel, retry

PAGE = 25
MOST_EVENTS = 50
OLDEST_SAMPLE = timedelta(minutes=2)  # a rate over more than this is no longer "now"


def job_list(request: HttpRequest) -> HttpResponse:
    """Running first, then queued, then what is over, newest first; `?state=` narrows, `?part=live` is the rows only."""
    user = request.user
    jobs, state = visible_jobs(user).select_related("repo"), request.GET.get("state", "")
    numbers = dict(jobs.order_by().values_list("state").annotate(number=Count("pk")))
    state = state if state in STATES else ""
    total = numbers.get(state, 0) if state else sum(numbers.values())
    pages = pages_of(request, total, PAGE)
    shown = (jobs.filter(state=state) if state else jobs).order_by(_urgency(), "-pk")[pages.slice]
    context = {
        "section": "jobs", "state": state, "pages": pages, "operates": may_operate(user),
        "states": [(name, numbers.get(name, 0)) for name in STATES if numbers.get(name)],
        "total": sum(numbers.values()), "jobs": [JobView(job, full=may_operate(user)) for job in shown],
        "is_live": bool(numbers.get("running") or numbers.get("queued")), "live_url": _live_url(request),
    }  # fmt: skip
    return render(request, "jobs/_rows.html" if _wants_part(request) else "jobs/list.html", context)


def job_page(request: HttpRequest, job_id: int) -> HttpResponse:
    """One job with progress, rate, time left, phases and result; `?part=live` is the fragment that changes."""
    user = request.user
    job = visible_jobs(user).select_related("repo__upstream").filter(pk=job_id).first()
    if job is None:
        raise Http404(f"There is no job {job_id} here, or you may not see it.")
    view = JobView(job, full=may_operate(user), sample=_sample(request))
    context = {
        "section": "jobs", "job": job, "view": view, "operates": may_operate(user),
        "events": _events(job, full=may_operate(user)),
        "live_url": f"{job.get_absolute_url()}?part=live", "is_live": not job.is_finished,
    }  # fmt: skip
    return render(request, "jobs/_progress.html" if _wants_part(request) else "jobs/detail.html", context)


@require_POST
@user_passes_test(may_operate)
def cancel_job(request: HttpRequest, job_id: int) -> HttpResponse:
    """The job will not go on; what it has fetched stays staged for a retry."""
    done = cancel(job_id)
    messages.success(request, f"Job {job_id} will stop." if done else f"Job {job_id} was over already.")
    return redirect("job", job_id)


@require_POST
@user_passes_test(may_operate)
def retry_job(request: HttpRequest, job_id: int) -> HttpResponse:
    """A new job does the work of a failed or cancelled one."""
    job = retry(job_id)
    if job is None:
        messages.warning(request, f"Job {job_id} is not over, so there is nothing to retry.")
        return redirect("job", job_id)
    messages.success(request, f"This is the retry of job {job_id}.")
    return redirect("job", job.pk)


def _urgency() -> Case:
    return Case(
        When(state="running", then=Value(0)), When(state="queued", then=Value(1)), default=Value(2),
        output_field=IntegerField(),
    )  # fmt: skip


def _wants_part(request: HttpRequest) -> bool:
    return request.GET.get("part") == "live"


def _live_url(request: HttpRequest) -> str:
    query = request.GET.copy()
    query["part"] = "live"
    return f"{request.path}?{query.urlencode()}"


def _events(job: Job, full: bool) -> list[Event]:
    """What was recorded of the job's repo while it ran."""
    if job.repo is None or job.started_at is None:
        return []
    during = Q(happened_at__gte=job.started_at)
    if job.finished_at:
        during &= Q(happened_at__lte=job.finished_at + timedelta(seconds=1))
    newest = Event.objects.filter(during, repo=job.repo).order_by("-happened_at", "-pk")[:MOST_EVENTS]
    return told(list(newest), job.repo.upstream, full)


def _sample(request: HttpRequest) -> tuple[Any, int] | None:
    """An earlier reading (`?since=<unix seconds>:<bytes>`) that the page remembers, to tell the rate of now."""
    seconds, _, n_bytes = request.GET.get("since", "").partition(":")
    try:
        age = timezone.now().timestamp() - float(seconds)
        done = int(n_bytes)
    except (ValueError, OverflowError):
        return None
    if not math.isfinite(age) or not 1 <= age <= OLDEST_SAMPLE.total_seconds() or done < 0:
        return None
    return timezone.now() - timedelta(seconds=age), done
