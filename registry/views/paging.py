"""One page of a long list, and the way to its neighbours."""

from collections.abc import Callable
from dataclasses import dataclass

from django.http import HttpRequest

LAST_PAGE = 100_000  # beyond this an offset costs the database more than a person gains


@dataclass(frozen=True)
class Pages:
    """Where a page stands in its list; rows are counted from 1."""

    number: int
    per_page: int
    total: int
    link: Callable[[int], str]

    @property
    def start(self) -> int:
        return (self.number - 1) * self.per_page

    @property
    def first(self) -> int:
        return self.start + 1

    @property
    def last(self) -> int:
        return min(self.start + self.per_page, self.total)

    @property
    def slice(self) -> slice:
        return slice(self.start, self.start + self.per_page)

    @property
    def is_needed(self) -> bool:
        return self.total > self.per_page or self.number > 1

    @property
    def back(self) -> str:
        return self.link(self.number - 1) if self.number > 1 else ""

    @property
    def next(self) -> str:
        return self.link(self.number + 1) if self.last < self.total else ""

    @property
    def next_size(self) -> int:
        return min(self.per_page, self.total - self.last)


def page_number(request: HttpRequest, total: int, per_page: int) -> int:
    """The page that `?page=` asks for, kept within what there is."""
    asked = request.GET.get("page", "")
    number = int(asked) if asked.isascii() and asked.isdecimal() and len(asked) < 10 else 1
    return max(1, min(number, -(-total // per_page), LAST_PAGE))


def pages_of(request: HttpRequest, total: int, per_page: int) -> Pages:
    """The page that the request asks for; links keep the rest of its query string."""

    def link(number: int) -> str:
        query = request.GET.copy()
        query["page"] = str(number)
        return f"{request.path}?{query.urlencode()}"

    return Pages(page_number(request, total, per_page), per_page, total, link)
