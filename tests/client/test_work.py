"""`holdfast convert`, `validate` and `mirror` order work from a real server with a worker, and see it done."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.client.running import Home
from tests.client.server import HoldfastHub
from tests.services.deployment import ROOT, Deployment

SAMPLE = ROOT / "deploy" / "samples" / "tinyfamily" / "base-f32"
NOTHING_MATCHED = 23
USERS = """
from django.contrib.auth.models import User
User.objects.create_superuser('root')
User.objects.create_user('bob')
"""


class Server(NamedTuple):
    url: str
    token: str
    other_token: str
    upstream: HoldfastHub


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with HoldfastHub() as upstream:
        allowed = {"HOLDFAST_UPSTREAM_ALLOW": upstream.address}
        with Deployment(tmp_path_factory.mktemp("server"), **allowed) as deployment:
            deployment.manage("shell", "-c", USERS)
            deployment.manage("mirror", f"dir:{SAMPLE}", "--as", "tinyfamily/base")

            def token(user: str) -> str:
                made = deployment.manage("token", "create", user, "--write", "--json").stdout
                return str(json.loads(made)["token"])

            deployment.start_worker(concurrency=1)
            yield Server(deployment.start_web(), token("root"), token("bob"), upstream)


@pytest.fixture
def home(server: Server, tmp_path: Path) -> Home:
    return Home(tmp_path, server.url, env={"HOLDFAST_TOKEN": server.token})


def test_an_artifact_is_made_judged_and_can_be_pulled(home: Home) -> None:
    made = home.ok("convert", "tinyfamily/base", "--to", "Q8_0", "--wait")
    assert "Q8_0.gguf" in made.stdout
    assert "sha256" in made.stdout
    again = home.ok("convert", "tinyfamily/base", "--to", "Q8_0", "--wait")
    assert again.stdout.rstrip().endswith("there already")
    judged = home.ok("validate", "tinyfamily/base:Q8_0", "--parent", "tinyfamily/base", "--wait")
    head, row = judged.stdout.splitlines()
    assert head.split() == ["FILE", "TYPE", "VERDICT", "KLD", "TOP1"]
    assert row.split()[1:3] == ["Q8_0", "verified"]
    shown = home.ok("validate", "tinyfamily/base", "--show", "--json", HOLDFAST_TOKEN="").json
    assert shown["validations"][0]["verdict"] == "verified"
    assert home.ok("pull", "tinyfamily/base:Q8_0").path.read_bytes()[:4] == b"GGUF"


def test_a_repo_is_mirrored_brought_up_to_date_and_listed(home: Home, server: Server) -> None:
    first = server.upstream.add("meta/tiny", {"config.json": b"{}"})
    place = f"hf+{server.upstream.url}/meta/tiny"
    assert (
        f"acme/tiny@{first[:12]}: " in home.ok("mirror", "add", place, "--as", "acme/tiny", "--wait").stdout
    )
    second = server.upstream.add("meta/tiny", {"config.json": b"{ }"})
    assert f"acme/tiny@{second[:12]}: 3 B fetched" in home.ok("mirror", "run", "acme/tiny").stdout
    assert "was held already" in home.ok("mirror", "run", "acme/tiny").stdout
    listed = home.ok("mirror", "list").stdout.splitlines()
    assert [line.split()[:2] for line in listed if line.startswith("acme/")] == [["acme/tiny", second[:7]]]
    assert "succeeded: mirror" in home.ok("mirror", "status", "acme/tiny").stdout
    assert home.ok("pull", "acme/tiny//config.json").path.read_bytes() == b"{ }"


def test_work_that_fails_says_why(home: Home, server: Server) -> None:
    error = home.fails("work_failed", "mirror", "add", f"hf+{server.upstream.url}/no/such", "--wait")
    assert "no/such" in error["message"]
    assert "no/such" in home.ok("mirror", "status").stdout


def test_who_does_not_operate_the_server_is_told_so(home: Home, server: Server) -> None:
    for arguments in (("convert", "tinyfamily/base", "--to", "Q8_0"), ("mirror", "add", "hf://a/b")):
        assert "operate" in home.fails("auth", *arguments, HOLDFAST_TOKEN=server.other_token)["message"]
        home.fails("auth", *arguments, HOLDFAST_TOKEN="")


def test_what_cannot_be_meant_is_refused(home: Home, server: Server) -> None:
    home.fails("usage", "convert", "tinyfamily/base:Q8_0", "--to", "Q4_0", exit_code=2)
    home.fails("refused", "convert", "tinyfamily/base", "--to", "Q99")
    home.fails("refused", "mirror", "add", "meta/tiny")
    home.fails("not_found", "mirror", "run", "acme/nothing", exit_code=NOTHING_MATCHED)
    home.fails("not_found", "validate", "acme/nothing", exit_code=NOTHING_MATCHED)
    home.fails("offline", "mirror", "list", "--offline")


def test_a_plain_hub_takes_no_orders(home: Home, server: Server) -> None:
    order = ("convert", "meta/tiny", "--to", "Q8_0", "--retries", "0", "-i", server.upstream.url)
    assert "takes no orders" in home.fails("not_found", *order, exit_code=NOTHING_MATCHED)["message"]
