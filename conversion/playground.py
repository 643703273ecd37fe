"""The playground: staff let a file of the catalog answer or continue a text, in the sandbox, and watch it come.

A door of the web (registry/urls.py) that answers while it works. One text at a time on a machine unless the operator
says otherwise; whoever comes while every seat is taken is told to come again. It acts on a session, so Django's CSRF
check is in force, unlike for the rest of the API.
"""

import fcntl
import json
import secrets
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.views.decorators.http import require_POST

from conversion.cases import Case, CaseRefused, case_in
from conversion.inference.chat_prompts import ChatPrompt, chat_prompt
from conversion.inference.engine import EngineError
from conversion.inference.provisions import limits_for
from conversion.inference.sandbox import Sandbox
from conversion.inference.speaking import Ending, Wish, speak
from conversion.workplace import work_folder
from mirror.blobs.store import StoreError
from mirror.store import blob_store
from registry.access import may_operate, visible_repos
from registry.models import Blob

MAX_PROMPT_CHARACTERS = 8_192
MAX_QUESTION_BYTES = 64 * 1024
MAX_TEMPERATURE = 5.0
MAX_SEED = 2**53
DEFAULT_TOKENS = 64
COME_AGAIN_SECONDS = 5
GRACE_SECONDS = 60.0
"""For the file to load, beside the seconds that speaking may take."""


class Refused(Exception):
    """The answer is an error: a status, a stable code, and a sentence for a person."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message

    def answer(self) -> JsonResponse:
        response = JsonResponse({"error": self.message, "code": self.code}, status=self.status)
        response["Cache-Control"] = "no-store"
        if self.status == 429:
            response["Retry-After"] = str(COME_AGAIN_SECONDS)
        return response


@require_POST
def say(request: HttpRequest) -> HttpResponseBase:
    """The text as it comes: a JSON object a line, or plain text for a browser that sent the form without script."""
    try:
        return _answer(request)
    except Refused as refused:
        return refused.answer()


def _answer(request: HttpRequest) -> HttpResponseBase:
    if not may_operate(request.user):
        status = 403 if request.user.is_authenticated else 401
        raise Refused(
            status, "staff-only", "The playground is for the staff of this registry. Sign in as one of them."
        )
    question = _read_question(request)
    case, wish = _find_case(request, question), _wish_of(question)
    as_text = "text/html" in request.headers.get("Accept", "")
    speech = Speech(case, wish, *_take_seat(), as_text=as_text)
    kind = "text/plain; charset=utf-8" if as_text else "application/x-ndjson"
    response = StreamingHttpResponse(speech, content_type=kind)
    response["Cache-Control"], response["X-Accel-Buffering"] = "no-store", "no"
    return response


# --- the question -----------------------------------------------------------------------------------------------


def _read_question(request: HttpRequest) -> dict[str, Any]:
    if int(request.META.get("CONTENT_LENGTH") or 0) > MAX_QUESTION_BYTES:
        raise Refused(413, "bad-question", f"A question has at most {MAX_QUESTION_BYTES} bytes.")
    if request.content_type != "application/json":
        return request.POST.dict()
    try:
        found = json.loads(request.body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Refused(400, "bad-question", "The body is not a JSON object.")
    return found


def _wish_of(question: dict[str, Any]) -> Wish:
    prompt = question.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip() or len(prompt) > MAX_PROMPT_CHARACTERS:
        raise Refused(
            400, "bad-question", f"`prompt` must be a text of 1 to {MAX_PROMPT_CHARACTERS} characters."
        )
    most = settings.HOLDFAST_PLAYGROUND_TOKENS
    seed = int(_number(question, "seed", -1, -1, MAX_SEED))
    return Wish(
        prompt.replace("\r\n", "\n"),
        max_tokens=int(_number(question, "max_tokens", min(DEFAULT_TOKENS, most), 1, most)),
        temperature=_number(question, "temperature", 0.0, 0.0, MAX_TEMPERATURE),
        top_p=_number(question, "top_p", 1.0, 0.01, 1.0),
        seed=secrets.randbelow(MAX_SEED) if seed < 0 else seed,
        seconds=settings.HOLDFAST_PLAYGROUND_SECONDS,
        raw=_is_ticked(question, "raw"),
    )


def _number(question: dict[str, Any], name: str, default: float, least: float, most: float) -> float:
    """The number of that name; what an empty field of a form says is the default."""
    value = question.get(name, "")
    try:
        found = default if value in ("", None) else float(value)
    except (TypeError, ValueError):
        found = float("nan")
    if not least <= found <= most:
        raise Refused(400, "bad-question", f"`{name}` must be a number from {least:g} to {most:g}.")
    return found


def _is_ticked(question: dict[str, Any], name: str) -> bool:
    """As JSON says it, or a form, in which a box that is not ticked is missing."""
    value = question.get(name, False)
    if value not in (True, False, "true", "false", "1", "0", "on", ""):
        raise Refused(400, "bad-question", f"`{name}` must be true or false.")
    return value in (True, "true", "1", "on")


def _find_case(request: HttpRequest, question: dict[str, Any]) -> Case:
    """The GGUF with that sha256 in that repo, its bytes at hand."""
    repo_id, sha256 = question.get("repo"), question.get("sha256")
    repo = (
        visible_repos(request.user).by_id(repo_id).first()
        if isinstance(repo_id, str) and "\0" not in repo_id
        else None
    )
    try:
        case = case_in(repo, sha256) if repo and isinstance(sha256, str) and "\0" not in sha256 else None
    except CaseRefused as error:
        raise Refused(400, error.code, error.message) from error
    if case is None:
        raise Refused(
            404, "no-such-file", "There is no such file: name a `repo` and the `sha256` of a file in it."
        )
    if case.is_folder:
        raise Refused(400, "not-a-gguf", f"{case.path} is no GGUF; the playground runs llama.cpp only.")
    if away := [blob for blob in case.files.values() if blob.state != Blob.State.PRESENT]:
        raise Refused(
            503, "blob-unavailable", f"{case.path} is {away[0].get_state_display()} in the blob store."
        )
    return case


# --- the answer -------------------------------------------------------------------------------------------------


def _take_seat() -> tuple[int, ExitStack]:
    """The number of a free seat, and what frees it again. The kernel frees the seats of a process that died."""
    n_seats = settings.HOLDFAST_PLAYGROUND_AT_ONCE
    if not n_seats:
        raise Refused(
            404, "playground-closed", "The operator closed the playground (HOLDFAST_PLAYGROUND_AT_ONCE=0)."
        )
    folder = Path(settings.DATA) / "playground"
    folder.mkdir(exist_ok=True)
    for number in range(n_seats):
        with ExitStack() as stack:
            seat = stack.enter_context((folder / f"seat-{number}").open("w"))
            try:
                fcntl.flock(seat, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            return number, stack.pop_all()
    raise Refused(429, "playground-busy", "Somebody else's text is being written. Try again in a moment.")


class Speech:
    """A text on its way out. Closing it, whether or not it was ever begun, ends the engine and frees the seat."""

    def __init__(self, case: Case, wish: Wish, seat: int, taken: ExitStack, *, as_text: bool) -> None:
        self.case, self.wish, self.seat, self._taken, self.as_text = case, wish, seat, taken, as_text
        self._lines = self._speak()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._lines)

    def close(self) -> None:
        """Idempotent. Django calls it when the last byte is sent, and when the visitor went away."""
        self._lines.close()
        self._taken.close()

    def _speak(self) -> Generator[bytes, None, None]:
        started = time.monotonic()
        try:
            with work_folder(f"playground-{self.seat}") as folder:
                path = self.case.place(blob_store(), folder, lambda n_bytes: None)
                with self._open(path) as model:
                    prompt = None if self.wish.raw else self._prompt(path)
                    if prompt is not None and not self.as_text:
                        yield _line({"prompt": prompt.text})
                    for said in speak(model, self.wish, prompt.ids if prompt else None):
                        yield self._ended(said, started) if isinstance(said, Ending) else self._piece(said)
        except (EngineError, StoreError) as error:
            yield self._failed(error.code, str(error))

    def _prompt(self, path: Path) -> ChatPrompt | None:
        """The prompt as the model's own chat template puts it; None where it has none."""
        try:
            return chat_prompt(path, self.wish.prompt)
        except EngineError as error:
            what = f"its chat template cannot be applied: {error.message} Ask with `raw` to go without it."
            raise EngineError(error.code, what) from error

    def _open(self, path: Path) -> Sandbox:
        limits = limits_for(self.case.size_bytes)
        seconds = self.wish.seconds + GRACE_SECONDS
        limits = replace(
            limits, wall_seconds=seconds, cpu_seconds=int(seconds) * settings.HOLDFAST_ENGINE_THREADS
        )
        return Sandbox("llama.cpp", path, limits=limits, threads=settings.HOLDFAST_ENGINE_THREADS)

    def _piece(self, text: str) -> bytes:
        return text.encode(errors="replace") if self.as_text else _line({"text": text})

    def _ended(self, ending: Ending, started: float) -> bytes:
        seconds = round(time.monotonic() - started, 2)
        if self.as_text:
            return f"\n\n[{ending.why}: {ending.n_tokens} tokens in {seconds} s, seed {self.wish.seed}]\n".encode()
        return _line(
            {"done": ending.why, "n_tokens": ending.n_tokens, "seconds": seconds, "seed": self.wish.seed}
        )

    def _failed(self, code: str, message: str) -> bytes:
        return (
            f"\n\n[{code}: {message}]\n".encode() if self.as_text else _line({"error": message, "code": code})
        )


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"
