"""The pages in a real browser: with and without script, light and dark, from a narrow phone to a desk.

HOLDFAST_SCREENSHOTS=1 pytest tests/end_to_end/test_pages.py    # writes docs/screenshots/ from the real sample family
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.services.deployment import ROOT, Deployment

pytestmark = pytest.mark.browser

AXE = ROOT / "tests" / "vendor" / "axe-core-4.10.3" / "axe.min.js"
AXE_SHA256 = "880970c081707360e64f34cea25ff91892f5bc95675b0776925b9709dd8a68bb"
SAMPLES = ROOT / "deploy" / "samples" / "tinyfamily"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
WIDTHS = [320, 390, 1280, 1920]
REPO = "/kelp/open-8b"
PAGES = ["/", "/?q=kelp&quantization=Q8_0", "/?q=nothing-like-it", "/jobs", "/jobs/1", "/jobs/4",
         "/account/sign-in", "/nothing/here"]  # fmt: skip
PAGES += [f"{REPO}{tab}" for tab in ("", "/tree/main", "/blob/main/config.json", "/tensors", "/commits", "/lineage",
                                     "/tensors/main/model-00001-of-00002.safetensors", "/validation",
                                     "/validation/1", "/events")]  # fmt: skip


def seed(deployment: Deployment, *arguments: str) -> str:
    """What tests/registry/views/seed.py printed, run in the deployment's database."""
    code = "import django, sys; django.setup(); from tests.registry.views.seed import main; print(main(*sys.argv[1:]))"
    env = deployment.env | {"DJANGO_SETTINGS_MODULE": "registry.settings"}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The system's Chromium. Missing, it is a skip that says so, but a failure where CI=true."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        message = (
            "NO BROWSER TESTS: Chromium is not installed. Install it (apt install chromium) to run them."
        )
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with Deployment(tmp_path_factory.mktemp("pages")) as deployment:
        seed(deployment, "family")
        yield deployment


@pytest.fixture(scope="module")
def url(family: Deployment) -> str:
    return family.start_web()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A new window at 1280 px; what the browser complains about fails the test."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    complaints = listen(page)
    yield page
    context.close()
    assert complaints == []


def listen(page: Page) -> list[str]:
    """Errors of the console and of scripts, as they come. A 404 that the test asked for is none."""
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(f"{page.url}: {message.text}")
            if message.type in ("error", "warning") and "404" not in message.text else None)  # fmt: skip
    return complaints


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_fits_every_width_and_passes_axe(chromium: Browser, url: str, theme: str) -> None:
    source = AXE.read_bytes()
    assert hashlib.sha256(source).hexdigest() == AXE_SHA256
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, color_scheme=theme)  # type: ignore[arg-type]
    page = context.new_page()
    complaints, found = listen(page), []
    for path in PAGES:
        page.goto(url + path)
        page.evaluate(source.decode())
        for width in WIDTHS if theme == "light" else [1280]:
            page.set_viewport_size({"width": width, "height": 900})
            if (actual := page.evaluate("document.documentElement.scrollWidth")) > width:
                found.append(f"{path} is {actual} px wide at {width}")
            if width in (390, 1280):
                found += violations(page, f"{path} at {width}")
    context.close()
    assert not found + complaints, "\n".join(found + complaints)


def violations(page: Page, where: str) -> list[str]:
    result = page.evaluate(
        "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa', 'best-practice']})"
    )
    return [f"{where}: {one['id']}: {one['nodes'][0]['html'][:200]}" for one in result["violations"]]


def test_search_filter_and_open_by_script(page: Page, url: str) -> None:
    page.goto(url)
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("kelp")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=2, name="3 repos")).to_be_visible()
    page.get_by_role("checkbox", name="Q8_0").check()
    page.wait_for_url(re.compile(r"quantization=Q8_0"))
    expect(page.get_by_role("heading", level=2, name="2 repos")).to_be_visible()
    expect(page.get_by_role("checkbox", name="Q8_0")).to_be_checked()
    page.get_by_role("link", name="Q8_0 , remove filter").click()
    expect(page.get_by_role("heading", level=2, name="3 repos")).to_be_visible()
    page.get_by_role("link", name="kelp/open-8b", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("kelp/open-8b")


def test_everything_works_without_script(chromium: Browser, url: str) -> None:
    context = chromium.new_context(java_script_enabled=False, viewport={"width": 390, "height": 800})
    page = context.new_page()
    page.goto(url)
    page.get_by_role("searchbox").fill("skerry")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("heading", level=2, name="1 repo")).to_be_visible()
    page.get_by_role("button", name="Filters (1)").click()
    page.get_by_role("checkbox", name="llama3.1").check()
    page.get_by_role("button", name="Apply filters").click()
    page.wait_for_url(re.compile(r"license=llama3\.1"))
    page.goto(url + REPO)
    page.get_by_label("Variant", exact=True).select_option("Q4_0")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.get_by_text("holdfast pull")).to_contain_text(":Q4_0")
    page.get_by_role("button", name="Menu").click()
    page.get_by_role("button", name="Light or dark").click()
    assert page.locator("html").get_attribute("data-theme") == "dark"
    context.close()


def test_the_theme_switches_at_once_and_stays(page: Page, url: str) -> None:
    page.goto(url)
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Light or dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    page.goto(f"{url}/jobs")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_a_command_is_copied(chromium: Browser, url: str) -> None:
    context = chromium.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto(url + REPO)
    page.get_by_role("button", name="Copy holdfast command").click()
    expect(page.get_by_text("Copied holdfast command")).to_be_attached()
    assert page.evaluate("navigator.clipboard.readText()") == f"holdfast pull {url}{REPO}:Q8_0"
    context.close()


def test_a_running_job_moves_under_the_eye_until_it_is_done(page: Page, url: str, family: Deployment) -> None:
    job = seed(family, "running")
    page.goto(f"{url}/jobs/{job}")
    bar = page.get_by_role("progressbar")
    expect(bar).to_have_attribute("value", "0.6428")
    seed(family, "advance", job, str(60_000_000_000))
    expect(bar).to_have_attribute("value", "0.9347", timeout=15_000)
    expect(page.get_by_text("lately")).to_be_visible(timeout=15_000)
    seed(family, "finish", job)
    expect(page.get_by_text("Succeeded")).to_be_visible(timeout=15_000)
    expect(page.get_by_text("100.0")).to_be_visible()


def test_staff_find_the_playground_at_a_report(page: Page, url: str) -> None:
    page.goto(f"{url}/account/sign-in?next={REPO}-GGUF/validation")
    sign_in(page)
    page.get_by_role("link", name="Q8_0", exact=True).click()
    page.get_by_role("link", name="Say something with it").click()
    expect(page.get_by_label("Prompt")).to_be_visible()
    page.evaluate(AXE.read_text())
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert violations(page, "playground") == []
    page.get_by_role("button", name="Say it").click()  # the seeded file has no bytes: the answer says so
    expect(page.locator("#said")).to_contain_text("is not in the blob store")
    expect(page.get_by_role("button", name="Say it")).to_be_enabled()


def sign_in(page: Page) -> None:
    page.get_by_label("Name").fill("alice")
    page.get_by_label("Password").fill("alice-password")
    page.get_by_role("main").get_by_role("button", name="Sign in").click()


def test_staff_sign_in_and_cancel_a_job(page: Page, url: str) -> None:
    page.goto(f"{url}/account/sign-in?next=/jobs")
    sign_in(page)
    page.get_by_role("link", name=re.compile("^Convert")).first.click()
    page.get_by_role("button", name="Cancel job").click()
    expect(page.get_by_text("will stop.")).to_be_visible()
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_text("This is the retry of job")).to_be_visible()


def test_lineage_is_followed_through_the_picture(page: Page, url: str) -> None:
    page.goto(f"{url}{REPO}/lineage")
    page.get_by_role("region", name="Lineage graph").get_by_role("link", name="driftline/Skerry-8B").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("driftline/Skerry-8B")


def test_screenshots_show_catalog_repo_and_job(chromium: Browser, url: str, tmp_path: Path) -> None:
    """Of seeded rows into a temporary folder; with HOLDFAST_SCREENSHOTS=1 of the real family into docs/screenshots/."""
    if os.environ.get("HOLDFAST_SCREENSHOTS") != "1":
        paths = {"catalog": "/", "repo": REPO, "job": "/jobs/1"}
        assert len(photograph(chromium, url, paths, tmp_path)) == 12
        return
    with Deployment(tmp_path / "family") as deployment:
        job = mirror_family(deployment)
        paths = {"catalog": "/", "repo": "/tinyfamily/base", "job": f"/jobs/{job}"}
        photograph(chromium, deployment.start_web(), paths, ROOT / "docs" / "screenshots")


def mirror_family(deployment: Deployment) -> int:
    """The sample family as `make demo` leaves it; the number of the job that judged its Q8_0."""
    for folder, name in {
        "base-f32": "base",
        "ft-gentle-bf16": "ft-gentle",
        "lora-jargon-adapter": "lora-jargon",
    }.items():
        deployment.manage("mirror", f"dir:{SAMPLES / folder}", "--as", f"tinyfamily/{name}")
    deployment.manage("convert", "tinyfamily/base", "--to", "F16,Q8_0,Q4_0")
    deployment.manage("validate", "tinyfamily/base")
    worker = deployment.start_worker(concurrency=1)
    jobs = deployment.wait_for_jobs(seconds=300)
    worker.stop()
    return int(next(job["id"] for job in jobs if job["label"] == "validate base-Q8_0.gguf"))


def photograph(chromium: Browser, url: str, paths: dict[str, str], folder: Path) -> list[Path]:
    """One picture a page, width and theme: `repo-390-dark.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    taken = []
    for theme in ("light", "dark"):
        for width in (390, 1280):
            context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)  # type: ignore[arg-type]
            page = context.new_page()
            for name, path in paths.items():
                page.goto(url + path)
                taken.append(folder / f"{name}-{width}-{theme}.png")
                page.screenshot(path=taken[-1], full_page=True)
            context.close()
    return taken
