"""`manage.py mirror`: copies a repo from an upstream, here and now, or hands that to the workers."""

import json
import re
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from rich.filesize import decimal

from mirror.sync import submit_mirror
from mirror.upstream import UpstreamRef, parse_upstream_ref
from mirror.upstream.base import BadUpstreamRef
from registry.foreground import USAGE, refuse_unfinished, run_with_bar
from registry.management.base import HoldfastCommand
from registry.models import Job

EPILOG = """\
UPSTREAM_REF is one of
  hf://org/name[@revision]                   the hub that HOLDFAST_HUB_ENDPOINT names (https://huggingface.co)
  hf+http://host:port/org/name[@revision]    another Hub-compatible endpoint (also hf+https://)
  dir:/path                                  a folder, or a models--org--name folder of a Hugging Face cache

The revision is a branch, a tag or a commit hash; without one it is main. Repeating the command fetches only what
is new. Tokens: HF_TOKEN for the hub, HOLDFAST_UPSTREAM_TOKENS for other hosts.

Exit status: 0 mirrored, or held already, or queued with --enqueue; 1 the job failed; 2 the command line is wrong;
130 interrupted: what has arrived is kept, and the job goes on when a worker runs or the command is repeated.
"""
_REPO_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


class Command(HoldfastCommand):
    help = "Mirror one repo from an upstream: fetch what is missing, verify every byte, publish it as one commit."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        return super().create_parser(
            prog_name, subcommand, epilog=EPILOG, formatter_class=RawDescriptionHelpFormatter, **kwargs
        )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("upstream_ref", metavar="UPSTREAM_REF", help="what to mirror; see below")
        parser.add_argument(
            "--as", dest="repo_id", metavar="ORG/NAME", default="", help="its name here, if not upstream's"
        )
        parser.add_argument(
            "--enqueue", action="store_true", help="hand it to the workers and return at once"
        )
        parser.add_argument("--json", action="store_true", help="print the job as JSON on stdout")

    def handle(self, *args: Any, **options: Any) -> None:
        ref = _read_ref(options["upstream_ref"])
        if options["repo_id"] and not _REPO_ID.fullmatch(options["repo_id"]):
            raise CommandError(f"--as {options['repo_id']!r} is not a name like org/name", returncode=USAGE)
        job = submit_mirror(ref, repo_id=options["repo_id"], send_nudge=options["enqueue"])
        if not options["enqueue"]:
            job = run_with_bar(job)
        if options["json"]:
            self.stdout.write(json.dumps(job.as_json(), indent=1, default=str))
        if not options["enqueue"]:
            refuse_unfinished(job)
        if not options["json"]:
            self.stdout.write(_closing_line(job))


def _read_ref(text: str) -> UpstreamRef:
    try:
        return parse_upstream_ref(text, hub_endpoint=settings.HOLDFAST_HUB_ENDPOINT)
    except BadUpstreamRef as error:
        raise CommandError(str(error), returncode=USAGE) from None


def _closing_line(job: Job) -> str:
    """What happened, in one line with counts and bytes."""
    if not job.is_finished:
        return f"job {job.pk} is queued: {job.label}"
    result = job.result
    name = f"{result['repo_id']}@{result['commit'][:8]}"
    files = f"{result['n_files']} files, {decimal(result['size_bytes'])}"
    if result["already_held"]:
        return f"{name} was held already: {files}"
    fetched = f"{result['n_fetched']} files, {decimal(result['fetched_bytes'])} fetched"
    moved = f"; upstream has moved on to {result['moved_to'][:8]}" if "moved_to" in result else ""
    return f"mirrored {name}: {files} ({fetched}){moved}"
