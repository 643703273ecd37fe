"""What may be wrong with a request for work, wherever that is understood: the door turns it into an answer."""


class AskedWrongly(Exception):
    """No job can be made of what was asked. `status`: 400 ask otherwise, 404 no such thing, 409 not yet."""

    def __init__(self, message: str, *, status: int = 400, code: str = "") -> None:
        super().__init__(message)
        self.message, self.status, self.code = message, status, code


def read_text(asked: dict[str, object], name: str, default: str = "") -> str:
    """The text of that name in the body."""
    value = asked.get(name, default)
    if not isinstance(value, str) or "\0" in value:
        raise AskedWrongly(f"`{name}` must be a text.")
    return value


def refuse_others(asked: dict[str, object], known: frozenset[str]) -> None:
    """Nothing is ignored: a word that was spelled wrong would be an order that nobody follows."""
    if others := sorted(set(asked) - known):
        raise AskedWrongly(
            f"{', '.join(map(repr, others))[:200]} is not known here; there is {', '.join(sorted(known))}."
        )
