"""Chat templates rendered by Jinja as transformers renders them. Lives in the sandbox, for a template is a program.

As transformers' `apply_chat_template` (utils/chat_template_utils.py, 5.23): an immutable sandboxed environment with
`trim_blocks`, `lstrip_blocks` and loop controls, `raise_exception`, `strftime_now`, a `tojson` that escapes nothing,
`dict` and `namespace` that cannot be climbed, and `{% generation %}`, which renders its body. The clock stands still.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from conversion.inference.engine import MAX_RENDERED_CHARACTERS, EngineError, EngineReport, Facts
from conversion.inference.installed import version_of


class JinjaEngine:
    """Renders; there is nothing to load, since templates come with the requests."""

    def __init__(self) -> None:
        # Imported now: afterwards the process is confined.
        import jinja2.ext
        import jinja2.sandbox

        version = version_of("jinja2")
        self.report = EngineReport("jinja", "jinja2", version)
        self._jinja = jinja2

    def load(self, path: str) -> "JinjaTemplates":
        return JinjaTemplates(self._jinja)


class JinjaTemplates:
    """An environment of its own for every template."""

    facts = Facts(1, 0, None, adds_bos=False)

    def __init__(self, jinja2: Any) -> None:
        self._jinja = jinja2

    def render(
        self, template: str, conversations: Sequence[dict[str, Any]], variables: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """Of each conversation `text`, or `error` and why; and under `dates` every date format it asked for.

        Errors are `template-attacks`, `template-output`, `template-broken` and `template-refuses`.
        """
        dates: dict[str, str] = {}
        try:
            compiled = self._environment(dates, variables.pop("now")).from_string(template)
        except MemoryError:
            raise
        except Exception as error:  # beside its own errors, whatever Python finds too deep or too long
            return [_failed("template-broken", error) for _ in conversations]
        return [self._one(compiled, variables | one) | {"dates": dates} for one in conversations]

    def _one(self, compiled: Any, variables: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"text": _gather(compiled.generate(**variables))}
        except self._jinja.exceptions.SecurityError as error:
            # Other attributes that are refused change a list or a dict: careless, and harmless.
            return _failed("template-attacks" if "'_" in str(error) else "template-refuses", error)
        except MemoryError:
            raise
        except EngineError as error:
            return _failed(error.code, error)
        except Exception as error:  # a template can make Python raise whatever it has
            return _failed("template-refuses", error)

    def _environment(self, dates: dict[str, str], now: float) -> Any:
        environment = self._jinja.sandbox.ImmutableSandboxedEnvironment(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_generation(self._jinja), "jinja2.ext.loopcontrols"],
        )

        def strftime_now(form: str) -> str:
            dates[form] = datetime.fromtimestamp(now, UTC).strftime(form)
            return dates[form]

        def raise_exception(message: str) -> None:
            raise self._jinja.TemplateError(message)

        environment.filters["tojson"] = _to_json
        environment.globals.update(
            raise_exception=raise_exception,
            strftime_now=strftime_now,
            dict=_Dict(),
            namespace=_namespace(self._jinja),
        )
        return environment


def _gather(parts: Any) -> str:
    """The text, or EngineError `template-output` as soon as it is longer than any prompt."""
    text, length = [], 0
    for part in parts:
        length += len(part)
        if length > MAX_RENDERED_CHARACTERS:
            raise EngineError("template-output", f"it writes more than {MAX_RENDERED_CHARACTERS} characters")
        text.append(part)
    return "".join(text)


def _failed(code: str, error: Exception) -> dict[str, Any]:
    return {"error": code, "message": f"{type(error).__name__}: {error}"[:500]}


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


class _Dict:
    """What templates call `dict`: makes one, and has nothing else of the type."""

    def __call__(self, *args: Any, **named: Any) -> dict[Any, Any]:
        return dict(*args, **named)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


def _namespace(jinja2: Any) -> Any:
    base: Any = jinja2.utils.Namespace

    def check(name: Any) -> None:
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"a namespace cannot hold {name!r}")

    class Namespace(base):  # type: ignore[misc]  # of a module that comes as an argument
        """A namespace without names that begin with an underscore."""

        def __init__(self, /, *args: Any, **named: Any) -> None:
            attributes = dict(*args, **named)
            for name in attributes:
                check(name)
            base.__init__(self, attributes)

        def __setitem__(self, name: str, value: Any) -> None:
            check(name)
            base.__setitem__(self, name, value)

    return Namespace


def _generation(jinja2: Any) -> Any:
    class Generation(jinja2.ext.Extension):  # type: ignore[misc]  # ditto
        """`{% generation %}…{% endgeneration %}`, which marks what the model would say."""

        tags = {"generation"}

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            call = self.call_method("say")
            return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

        def say(self, caller: Any) -> str:
            return str(caller())

    return Generation


def start(threads: int) -> JinjaEngine:
    return JinjaEngine()
