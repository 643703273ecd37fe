"""`:best`: what fits, what is preferred, what is never chosen, and where the memory is read from."""

from pathlib import Path
from typing import Any

import pytest
from holdfast.choosing.best import choose_best, need_of
from holdfast.choosing.choices import merged, read_choice
from holdfast.choosing.gpus import amd_cards, read_gpus
from holdfast.choosing.memory import Room, linux_room, mac_room, read_rooms
from holdfast.errors import DoesNotFit, NotFound, NotValidated
from holdfast.sources.remote import Choice

from tests.client.conftest import noise
from tests.client.running import Home
from tests.client.server import HoldfastHub
from tests.client.test_output import check_golden, shown
from tests.services.hub import Hub

GB = 1_000_000_000
LLAMA_8B = {"cache_bytes_per_token": 131_072, "context_length": 131_072}


def gguf(variant: str, gigabytes: float, verdict: str | None = None, **figures: Any) -> Choice:
    return Choice(variant, "o/n", f"n-{variant}.gguf", int(gigabytes * GB), verdict, **figures)


def ram(gigabytes: float) -> list[Room]:
    return [Room(int(gigabytes * GB), "free")]


SIZES = [gguf("Q4_K_M", 4.9, **LLAMA_8B), gguf("Q5_K_M", 5.7, **LLAMA_8B), gguf("Q6_K", 6.6, **LLAMA_8B)]


# --- what is chosen ------------------------------------------------------------------------------------------


def test_the_largest_that_fits_is_taken_and_the_reason_names_the_next() -> None:
    chosen, reason = choose_best("o/n", SIZES, ram(7.5))
    assert chosen.variant == "Q5_K_M"
    assert reason == "Q5_K_M: 5.7 GB + 1.6 GB for 8,192 tokens of context fits in 7.5 GB free; Q6_K does not"


def test_with_room_for_all_the_largest_is_named_so() -> None:
    assert choose_best("o/n", SIZES, ram(64))[1].endswith("fits in 64.0 GB free; it is the largest there is")


def test_what_a_variant_needs_follows_the_stated_model() -> None:
    known = need_of(SIZES[0])
    assert known.total_bytes == 4_900_000_000 + 131_072 * 8192 + 500_000_000
    assert need_of(gguf("Q4_0", 4.0)).total_bytes == 5_000_000_000
    short = need_of(gguf("Q4_0", 0.8, cache_bytes_per_token=1000, context_length=512))
    assert (short.beside_bytes, short.tokens) == (1000 * 512 + 100_000_000, 512)


def test_verified_variants_come_before_larger_ones() -> None:
    choices = [gguf("Q4_K_M", 4, "verified"), gguf("Q8_0", 8, "untested"), gguf("F16", 16)]
    chosen, reason = choose_best("o/n", choices, ram(64))
    assert (chosen.variant, reason.endswith("and it is verified; Q8_0 is not")) == ("Q4_K_M", True)
    assert choose_best("o/n", choices[1:], ram(64))[0].variant == "F16"


@pytest.mark.parametrize("verdict", ["damaged", "unsupported", "failed"])
def test_what_failed_is_never_chosen(verdict: str) -> None:
    choices = [gguf("Q4_0", 4, "loads"), gguf("Q8_0", 8, verdict)]
    assert choose_best("o/n", choices, ram(64))[0].variant == "Q4_0"
    with pytest.raises(NotValidated) as refused:
        choose_best("o/n", choices[1:], ram(64))
    assert [choice["variant"] for choice in refused.value.facts["choices"]] == ["Q8_0"]


def test_what_the_index_keeps_back_is_not_chosen_either() -> None:
    choices = [gguf("Q4_0", 4), gguf("Q8_0", 8, "verified", pulled_by_default=False)]
    assert choose_best("o/n", choices, ram(64))[0].variant == "Q4_0"


def test_a_smaller_one_that_is_as_close_is_better() -> None:
    choices = [gguf("Q5_1", 6, "verified", mean_kld=0.01), gguf("Q5_K_M", 5.7, "verified", mean_kld=0.008)]
    chosen, reason = choose_best("o/n", choices, ram(64))
    assert (chosen.variant, reason.endswith("; Q5_1 is larger and no closer to its parent")) == (
        "Q5_K_M",
        True,
    )


def test_a_graphics_card_is_filled_before_the_machine() -> None:
    rooms = [Room(7 * GB, "free on the GPU"), Room(64 * GB, "free")]
    chosen, reason = choose_best("o/n", SIZES, rooms)
    assert (chosen.variant, "fits in 7.0 GB free on the GPU; Q5_K_M does not" in reason) == ("Q4_K_M", True)
    assert choose_best("o/n", SIZES, [Room(GB, "free on the GPU"), *ram(64)])[0].variant == "Q6_K"


def test_when_nothing_fits_the_error_says_the_least_that_is_needed() -> None:
    with pytest.raises(DoesNotFit) as refused:
        choose_best("o/n", SIZES, ram(2))
    assert refused.value.facts["needed_bytes"] == need_of(SIZES[0]).total_bytes
    assert len(refused.value.facts["choices"]) == 3
    with pytest.raises(DoesNotFit):
        choose_best("o/n", SIZES, [])


def test_without_gguf_it_is_safetensors_or_nothing() -> None:
    checkpoint = Choice("safetensors", "o/n", "", 16 * GB)
    assert choose_best("o/n", [checkpoint, Choice("pytorch", "o/n", "", GB)], ram(32))[0] is checkpoint
    with pytest.raises(DoesNotFit):
        choose_best("o/n", [checkpoint], ram(8))
    with pytest.raises(NotFound):
        choose_best("o/n", [Choice("pytorch", "o/n", "", GB)], ram(32))


# --- what an index says --------------------------------------------------------------------------------------


@pytest.mark.parametrize("nonsense", ["8", -1, True, 1e400, None, [], float("nan"), 1 << 70])
def test_figures_that_cannot_be_are_not_said(nonsense: Any) -> None:
    names = ("mean_kld", "top1_agreement", "perplexity_ratio", "parameter_count", "cache_bytes_per_token")
    choice = read_choice({"variant": "Q8_0", "repo_id": "o/n", **dict.fromkeys(names, nonsense)})
    assert {getattr(choice, name) for name in names} == {None}


def test_our_name_and_their_figures_are_one_choice() -> None:
    own, told = gguf("UD-Q4_K_XL", 4), Choice("Q4_K_XL", "o/n", "n-UD-Q4_K_XL.gguf", 4, "verified", 0.1)
    other = Choice("Q8_0", "o/n-GGUF", "n-Q8_0.gguf", 8)
    (first, second) = merged([own], [told, other])
    assert (first.variant, first.verdict, first.mean_kld, second) == ("UD-Q4_K_XL", "verified", 0.1, other)


# --- where memory is read from -------------------------------------------------------------------------------


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A machine with 8 GiB available."""
    write(tmp_path / "proc", meminfo="MemTotal: 16777216 kB\nMemFree: 1 kB\nMemAvailable: 8388608 kB\n")
    write(tmp_path / "proc" / "self", cgroup="0::/a/b\n")
    return tmp_path / "proc"


def test_linux_says_what_is_available(proc: Path, tmp_path: Path) -> None:
    assert linux_room(proc, tmp_path / "none") == [Room(8 << 30, "free")]
    assert linux_room(tmp_path / "nothing", tmp_path / "none") == []


def test_the_smallest_limit_above_us_counts(proc: Path, tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    write(root / "a" / "b", memory__max="max\n", memory__current="5\n")
    write(
        root / "a",
        memory__max=f"{4 << 30}\n",
        memory__current=f"{3 << 30}\n",
        memory__stat=f"inactive_file {1 << 30}\n",
    )
    assert linux_room(proc, root) == [Room(2 << 30, "left to this container")]


def test_the_older_kind_of_limit_counts_too(proc: Path, tmp_path: Path) -> None:
    write(proc / "self", cgroup="3:cpu:/\n7:memory:/x\n")
    limit = {"memory__limit_in_bytes": f"{1 << 30}", "memory__usage_in_bytes": "0"}
    write(tmp_path / "cgroup" / "memory" / "x", **limit)
    write(
        tmp_path / "cgroup" / "memory",
        memory__limit_in_bytes=f"{(1 << 63) - 4096}",
        memory__usage_in_bytes="0",
    )
    assert linux_room(proc, tmp_path / "cgroup") == [Room(1 << 30, "left to this container")]


def test_a_mac_lends_three_quarters() -> None:
    assert mac_room(16 << 30) == [Room(12 << 30, "of this Mac's memory may be used")]


def test_cards_of_amd_are_read_from_the_driver(tmp_path: Path) -> None:
    write(
        tmp_path / "card1" / "device", mem_info_vram_total=f"{24 << 30}\n", mem_info_vram_used=f"{1 << 30}\n"
    )
    write(tmp_path / "card0" / "device", vendor="0x8086\n")
    assert amd_cards(tmp_path) == [23 << 30]


def test_cards_of_nvidia_are_asked_of_its_program(tmp_path: Path) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nprintf '24000\\n8000\\n[N/A]\\n'\n")
    program.chmod(0o755)
    assert read_gpus({"PATH": str(tmp_path)}, tmp_path) == [24000 << 20, 8000 << 20]
    assert read_gpus({"PATH": str(tmp_path), "CUDA_VISIBLE_DEVICES": "1"}, tmp_path) == [8000 << 20]
    assert read_gpus({"PATH": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""}, tmp_path) == []
    program.write_text("#!/bin/sh\nprintf 'NVIDIA-SMI has failed'; exit 9\n")
    assert read_gpus({"PATH": str(tmp_path)}, tmp_path) == []


def test_this_machine_has_some_memory_and_a_person_may_say_how_much() -> None:
    assert all(room.size_bytes > 0 for room in read_rooms(None))
    assert [room.size_bytes for room in read_rooms(12 * GB)] == [12 * GB]


# --- the command ---------------------------------------------------------------------------------------------


@pytest.fixture
def measured(hub: HoldfastHub, model: str, quants: str) -> HoldfastHub:
    """org/model, of which the index keeps two artifacts: one verified, one damaged."""
    sizes: Any = {
        "bits_per_weight": 4.85,
        "parameter_count": 1000,
        "context_length": 100,
        "cache_bytes_per_token": 100,
    }
    near: Any = {"mean_kld": 0.0112, "perplexity_ratio": 1.006, "top1_agreement": 0.97}
    hub.offer("org/model", "Q4_K_M", "org/quants-GGUF", "quants-Q4_K_M.gguf", "verified", **sizes, **near)
    hub.offer(
        "org/model",
        "Q8_0",
        "org/quants-GGUF",
        "quants-Q8_0.gguf",
        "damaged",
        mean_kld=8.5,
        bits_per_weight=8.5,
    )
    return hub


def test_the_best_of_a_repo_is_what_its_index_keeps_of_it(home: Home, measured: HoldfastHub) -> None:
    result = home.ok("pull", "org/model:best", "--json", HOLDFAST_MEMORY="1G").json["pulled"][0]
    assert (result["repo_id"], result["variant"]) == ("org/quants-GGUF", "Q4_K_M")
    assert Path(result["path"]).read_bytes() == noise(40_000, 4)
    assert "0.0 GB" not in result["reason"]


def test_the_best_of_a_plain_repo_is_by_size_alone(home: Home, quants: str) -> None:
    for memory, variant in (("1G", "F16"), ("110k", "Q8_0"), ("60k", "Q4_K_M")):
        result = home.ok("pull", "org/quants-GGUF:Best", "--dry-run", "--json", HOLDFAST_MEMORY=memory)
        assert result.json["pulled"][0]["variant"] == variant


def test_a_plain_hub_is_looked_at_for_files_made_elsewhere(tmp_path: Path) -> None:
    with Hub() as plain:
        plain.add("org/quants", {"config.json": b"{}"})
        plain.add("org/quants-GGUF", {"m-Q4_0.gguf": noise(4000), "m-Q8_0.gguf": noise(8000)})
        home = Home(tmp_path, plain.url)
        result = home.ok("pull", "org/quants:best", "--dry-run", "--json", HOLDFAST_MEMORY="9k").json[
            "pulled"
        ][0]
        assert (result["repo_id"], result["variant"]) == ("org/quants-GGUF", "Q4_0")


@pytest.mark.parametrize(
    ("name", "memory", "arguments"),
    [
        ("best", "12M", ["pull", "org/model:best", "--dry-run"]),
        ("best-none", "10k", ["pull", "org/quants-GGUF:best"]),
        ("choices", "12M", ["pull", "org/model:Q2_K"]),
    ],
)
def test_the_words_of_a_choice_are_these(
    home: Home, measured: HoldfastHub, name: str, memory: str, arguments: list[str]
) -> None:
    check_golden(name, shown(home, home.run(*arguments, HOLDFAST_MEMORY=memory)))


def test_a_memory_that_is_no_size_is_a_usage_error(home: Home, quants: str) -> None:
    error = home.fails("usage", "pull", "org/quants-GGUF:best", exit_code=2, HOLDFAST_MEMORY="lots")
    assert "HOLDFAST_MEMORY" in error["message"]
