"""`manage.py reproduce`: artifacts are made again from their sources and compared bit for bit; or let go after that."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from rich.filesize import decimal

from conversion.management.targets import find_artifacts
from conversion.reproduce import NotEvictable, evict_artifact, submit_reproduction
from registry.foreground import FAILED, refuse_unfinished, run_with_bar
from registry.management.base import HoldfastCommand
from registry.models import Artifact, Blob, Job


class Command(HoldfastCommand):
    help = (
        "Make artifacts again from their recipes and compare every byte with what is stored. With --evict, let those "
        "go that are identical: their rows stay, and whoever asks for such a file has it rebuilt. "
        "Exit status: 0 all identical, or queued with --enqueue; 1 one is not; 2 the command line is wrong; "
        "130 interrupted: the work goes on when a worker runs or the command is repeated."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "target", metavar="ARTIFACT", help="a number, org/name[@revision][:Q8_0], or org/name-GGUF[:Q8_0]"
        )
        parser.add_argument("--evict", action="store_true", help="give back the room of what is identical")
        parser.add_argument(
            "--enqueue", action="store_true", help="hand it to the workers and return at once"
        )
        parser.add_argument(
            "--json", action="store_true", help="a JSON list on stdout, one object per artifact"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        artifacts = find_artifacts(options["target"])
        outcomes = [self._handle_one(artifact, options) for artifact in artifacts]
        if options["json"]:
            told = [{"path": artifact.path, "evicted_bytes": n, "job": job and job.as_json()}
                    for artifact, job, n in outcomes]  # fmt: skip
            self.stdout.write(json.dumps(told, indent=1, default=str))
        for _, job, _ in outcomes:
            if job is not None and not options["enqueue"]:
                refuse_unfinished(job)
        if not options["json"]:
            what = "queued" if options["enqueue"] else "reproduced bit for bit"
            self.stdout.write(f"{len(outcomes)} of {len(artifacts)} artifacts {what}")

    def _handle_one(self, artifact: Artifact, options: dict[str, Any]) -> tuple[Artifact, Job | None, int]:
        if artifact.blob.state == Blob.State.EVICTED:
            self._say(options, f"{artifact.path} is evicted already; asking for it rebuilds it")
            return artifact, None, 0
        job = submit_reproduction(artifact, send_nudge=options["enqueue"])
        if options["enqueue"]:
            return artifact, job, 0
        job = run_with_bar(job)
        if job.state != Job.State.SUCCEEDED:
            return artifact, job, 0
        self._say(options, f"{artifact.path}: identical, {decimal(artifact.blob.size_bytes)}")
        return artifact, job, self._evict(artifact, options) if options["evict"] else 0

    def _evict(self, artifact: Artifact, options: dict[str, Any]) -> int:
        artifact.refresh_from_db()
        try:
            n_bytes = evict_artifact(artifact)
        except NotEvictable as error:
            raise CommandError(f"{error.code}: {error}", returncode=FAILED) from None
        self._say(options, f"{artifact.path}: evicted, {decimal(n_bytes)} given back")
        return n_bytes

    def _say(self, options: dict[str, Any], sentence: str) -> None:
        if not options["json"]:
            self.stdout.write(sentence)
