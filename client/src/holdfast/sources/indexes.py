"""Which index answers for a name: the first that knows it, for all its revisions.

Sources are asked in order: --find-links first, then the index, then the extra ones. One that knows the name is the
only one that is believed about it: a revision it lacks is not looked for elsewhere. One that cannot be asked (down,
refusing, answering nonsense) ends the search with its error: otherwise whoever can switch our index off, or registers
our private names elsewhere, could hand us other weights under the same name.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from holdfast.errors import HoldfastError, NotFound, RepoNotFound, UsageError
from holdfast.network.connecting import open_transport
from holdfast.network.transport import Answer
from holdfast.output import Output
from holdfast.reference import FOLDERS, HUGGING_FACE, REGISTRIES, Reference
from holdfast.settings import Settings
from holdfast.sources.hub import Hub
from holdfast.sources.remote import RemoteFile, VariantAnswer
from holdfast.sources.source import Source
from holdfast.text import printable


class Indexes:
    """Several sources as one. Asks nobody anything before it is asked itself."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = tuple(sources)
        self._chosen: dict[str, Source] = {}
        self._commits: dict[tuple[str, str], str] = {}  # what was learned while choosing
        self._lock = threading.Lock()

    @property
    def index_url(self) -> str:
        """The address of the first source."""
        return self.sources[0].index_url if self.sources else "no index"

    def url_of(self, repo_id: str) -> str:
        """The address of the source that answers for the repo; of the first, while nobody has been asked."""
        chosen = self._chosen.get(repo_id)
        return chosen.index_url if chosen else self.index_url

    def source_of(self, repo_id: str, revision: str) -> Source:
        """The first source that knows the repo. Raises RepoNotFound if none does, and what kept one from answering."""
        with self._lock:
            if repo_id not in self._chosen:
                self._chosen[repo_id] = self._choose(repo_id, revision)
            return self._chosen[repo_id]

    def others(self, source: Source) -> tuple[Source, ...]:
        """Every other source: they are believed about nothing, but may hold the same bytes."""
        return tuple(other for other in self.sources if other is not source)

    def resolve(self, repo_id: str, revision: str) -> str:
        """The commit of a revision, by the first source that knows the repo."""
        source = self.source_of(repo_id, revision)
        with self._explained(source, repo_id):
            return self._commits.get((repo_id, revision)) or source.resolve(repo_id, revision)

    def list_files(self, repo_id: str, commit: str) -> list[RemoteFile]:
        """Every file of the commit."""
        source = self.source_of(repo_id, commit)
        with self._explained(source, repo_id):
            return source.list_files(repo_id, commit)

    def resolve_variant(self, repo_id: str, revision: str, variant: str) -> VariantAnswer | None:
        """Where the source that answers for the repo keeps a variant of it."""
        return self.source_of(repo_id, revision).resolve_variant(repo_id, revision, variant)

    def open_file(
        self, repo_id: str, commit: str, path: str, start: int, end: int | None
    ) -> AbstractContextManager[Answer]:
        """Bytes [start, end) of a file, from the source that answers for the repo."""
        return self.source_of(repo_id, commit).open_file(repo_id, commit, path, start, end)

    def doubt(self, path: str) -> bool:
        """Nobody but the source that answers for the repo gives bytes here."""
        return False

    def _choose(self, repo_id: str, revision: str) -> Source:
        if not self.sources:
            raise UsageError(
                "there is nobody to ask: --no-index without --find-links",
                hint="name a folder or an address that holds models: --find-links DIR",
            )
        if len(self.sources) == 1:
            return self.sources[0]
        for source in self.sources:
            try:
                self._commits[repo_id, revision] = source.resolve(repo_id, revision)
            except RepoNotFound:
                continue
            except NotFound:
                return source
            except HoldfastError as error:
                raise _not_passed_over(error, source, self.sources) from error
            return source
        raise self._unknown_everywhere(repo_id)

    def _unknown_everywhere(self, repo_id: str) -> RepoNotFound:
        asked = [source.index_url for source in self.sources]
        return RepoNotFound(
            f"no such repo: {repo_id}: not at {printable(' nor at '.join(asked))}",
            hint="Check the spelling. A private repo needs a token of its index: holdfast login, or HOLDFAST_TOKEN.",
            repo_id=repo_id,
            asked=asked,
        )

    @contextmanager
    def _explained(self, source: Source, repo_id: str) -> Iterator[None]:
        """Where there are several sources, a person hears why the others were not asked for what this one lacks."""
        try:
            yield
        except NotFound as error:
            if len(self.sources) > 1:
                error.hint = (
                    f"{printable(source.index_url)} is the first that knows {repo_id}, so it answers for all of it. "
                    f"{error.hint}"
                )
            raise


def _not_passed_over(error: HoldfastError, source: Source, sources: Sequence[Source]) -> HoldfastError:
    if source is not sources[-1]:
        error.hint = (
            "The next index was not asked instead: under this name it may hold somebody else's weights. "
            f"{error.hint}"
        )
    return error


def open_source(reference: Reference, settings: Settings, out: Output) -> Indexes:
    """What to ask for the reference: the index it names and no other, or all that are configured, in order."""
    if reference.index_url is not None:
        return Indexes([_open_named(reference.index_url, settings, out)])
    return open_indexes(settings, out)


def _open_named(url: str, settings: Settings, out: Output) -> Source:
    """What a reference names: an index, a folder, or a registry of images. Imports what only the latter need."""
    if url.startswith(FOLDERS):
        from holdfast.sources.opening import open_folder_url

        return open_folder_url(url)
    if url.startswith(REGISTRIES):
        from holdfast.sources.opening import open_registry

        return open_registry(url, settings, out)
    return _open_url(settings.hugging_face_url if url == HUGGING_FACE else url, settings, out)


def open_indexes(settings: Settings, out: Output) -> Indexes:
    """Everything that is configured, in the order in which it is asked."""
    places = [_open_place(place, settings, out) for place in settings.find_links]
    return Indexes([*places, *(_open_url(url, settings, out) for url in settings.indexes)])


def _open_url(url: str, settings: Settings, out: Output) -> Source:
    """A bucket may stand where an index does."""
    return (_open_place if url.startswith("s3") else open_index)(url, settings, out)


def _open_place(place: str, settings: Settings, out: Output) -> Source:
    """Imports what only such places need when there is one."""
    from holdfast.sources.opening import open_place

    return open_place(place, settings, out)


def hub_urls(settings: Settings) -> list[str]:
    """The configured indexes that can be asked questions: all but buckets."""
    return [url for url in settings.indexes if url.startswith(("http://", "https://"))]


def open_index(url: str, settings: Settings, out: Output) -> Hub:
    """One Hub-compatible index, which knows more than a source does. UsageError for a bucket, which knows nothing."""
    if not url.startswith(("http://", "https://")):
        raise UsageError(
            f"{printable(url)} is no index: it can be pulled from, not asked",
            hint="name an index with -i",
        )
    return Hub(url, open_transport(url, settings, out), retries=settings.retries)
