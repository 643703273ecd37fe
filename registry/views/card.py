"""Model cards: what an author wrote, without the means to script, restyle or phone home.

Markdown and the HTML in it are rendered, then cut down to a list of harmless elements. Nothing that a browser
would fetch survives: no images, styles, fonts, frames or forms. Links stay, without our address as referrer;
those inside the repo lead to our pages. Classes and ids go, so a card cannot dress up as a part of the page.
"""

import re
from functools import lru_cache
from urllib.parse import quote, unquote, urlsplit

import nh3
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict

LONGEST_CARD = 100_000  # characters; a page stays under 200 kB and rendering about a second at worst
MOST_TAGS = 5_000  # of HTML; nested deeper, the sanitiser takes quadratic time: then they are shown as text

TAGS = {
    "a", "abbr", "b", "blockquote", "br", "caption", "code", "dd", "del", "details", "div", "dl", "dt", "em",
    "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "ins", "kbd", "li", "mark", "ol", "p", "pre", "q", "s", "samp",
    "small", "span", "strong", "sub", "summary", "sup", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "u",
    "ul", "var",
}  # fmt: skip
ATTRIBUTES = {
    "a": {"href"}, "abbr": {"title"}, "ol": {"start"},
    "td": {"colspan", "rowspan"}, "th": {"colspan", "rowspan"},
}  # fmt: skip
# What scrolls sideways is reached by the keyboard, too. nh3 left these tags without any attribute.
DRESSED = {
    "<table>": '<div class="scroll-x" tabindex="0" role="region" aria-label="Table"><table class="table">',
    "</table>": "</table></div>",
    "<pre>": '<pre tabindex="0">',
}
_CONTROL = re.compile(r"[\x00-\x20\x7f]")  # browsers drop some of these from URLs
_HEADING = re.compile(r"<(/?)h([1-6])>")
_IMAGE = re.compile(r"<img\b[^>]{0,4000}>", re.IGNORECASE)
_ALT = re.compile(r"""\balt\s*=\s*(?:"([^"]*)"|'([^']*)')""", re.IGNORECASE)


@lru_cache(maxsize=64)
def render_card(text: str, base: str, blob: str) -> SafeString:
    """The card as safe HTML. `base` is the URL of the repo, `blob` that of its files at the shown revision."""
    text = text[:LONGEST_CARD]
    unsafe = (_MARKDOWN if text.count("<") <= MOST_TAGS else _PLAIN_MARKDOWN).render(text)
    unsafe = _IMAGE.sub(lambda image: _in_words(_alt_of(image.group(0))), unsafe)
    clean = nh3.clean(
        unsafe, tags=TAGS, attributes=ATTRIBUTES, url_schemes={"http", "https", "mailto"},
        link_rel="nofollow noopener noreferrer ugc",
        attribute_filter=lambda tag, name, value: _link(value, base, blob) if name == "href" else value,
    )  # fmt: skip
    clean = _HEADING.sub(_demoted, clean)
    for bare, dressed in DRESSED.items():
        clean = clean.replace(bare, dressed)
    return mark_safe(clean)  # noqa: S308  # nh3 has just made it so


def _link(target: str, base: str, blob: str) -> str | None:
    """Where a link of a card may lead, or None. Relative ones mean files of the same commit."""
    target = _CONTROL.sub("", target)
    if target.startswith(("//", "#")) or "\\" in target:  # browsers read a backslash as a slash
        return None
    try:
        parts = urlsplit(target)
    except ValueError:
        return None
    if parts.scheme or target.startswith("/"):
        return target  # nh3 has already dropped every scheme but those above
    path = unquote(parts.path).removeprefix("./")
    return f"{blob}/{quote(path)}" if path and ".." not in path.split("/") else base


def _demoted(tag: re.Match[str]) -> str:
    """The page's own headings come first: the card's begin at the third level."""
    return f"<{tag.group(1)}h{min(int(tag.group(2)) + 2, 6)}>"


def _alt_of(tag: str) -> str:
    found = _ALT.search(tag)
    return (found.group(1) or found.group(2) or "") if found else ""


def _in_words(alt: str) -> str:
    return f"<small>[image: {alt}]</small>" if alt.strip() else ""


def _image(
    self: RendererHTML, tokens: list[Token], index: int, options: OptionsDict, env: dict[str, object]
) -> str:
    """An image is told in words: fetching it would tell its host who reads this page."""
    return _in_words(escape(tokens[index].content))


def _markdown(html: bool) -> MarkdownIt:
    rules = MarkdownIt("commonmark", {"html": html}).enable(["table", "strikethrough"])
    rules.add_render_rule("image", _image)
    return rules


_MARKDOWN, _PLAIN_MARKDOWN = _markdown(html=True), _markdown(html=False)
