"""What a reader raises when a file is not what it claims to be."""

MAX_QUOTED_CHARACTERS = 96


class HeaderError(Exception):
    """A header was refused; `code` is stable, `message` says what and what is allowed, `where` names the place.

    Codes start with the format: `st-` safetensors, `gguf-` GGUF, `ck-` a checkpoint of several files. They are listed
    in docs/formats/. Reading the same bytes again gives the same error, so a retry cannot help.
    """

    retryable = False

    def __init__(self, code: str, message: str, where: str = "") -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.code = code
        self.message = message
        self.where = where


def quoted(text: object) -> str:
    """Hostile text made fit for a message: one line, printable ASCII, at most `MAX_QUOTED_CHARACTERS` long."""
    shown = ascii(text)
    if len(shown) <= MAX_QUOTED_CHARACTERS:
        return shown
    return shown[: MAX_QUOTED_CHARACTERS - 1] + "…"
