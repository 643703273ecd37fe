"""llama-perplexity's --kl-divergence, in llama-cpp-python: the peer of `validating`, run by its own interpreter.

    python _perplexity.py PARENT.gguf ARTIFACT.gguf TEXT…

Windows of 256 tokens that do not overlap, each with the beginning-of-text token, the second half of each scored, at
most six of a text; both models loaded one after the other, the parent's logits kept in memory. One thread.
"""

import json
import sys
from pathlib import Path

import llama_cpp
import numpy as np

WINDOW, MOST = 256, 6


def logits(path: str, texts: list[str]) -> list[np.ndarray]:
    model = llama_cpp.Llama(
        path, n_ctx=512, n_batch=512, logits_all=True, n_threads=1, n_threads_batch=1, verbose=False
    )
    start, found = [model.token_bos()], []
    for text in texts:
        ids = model.tokenize(Path(text).read_bytes(), add_bos=False)
        step = WINDOW - 1
        for index in range(min(MOST, len(ids) // step)):
            window = start + ids[index * step : (index + 1) * step]
            model.reset()
            model.eval(window[:-1])
            found.append(np.array(model.scores[WINDOW // 2 : WINDOW - 1], np.float64))
    return found


def log_softmax(rows: np.ndarray) -> np.ndarray:
    rows = rows - rows.max(axis=1, keepdims=True)
    return rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))


def main() -> None:
    parent, artifact, *texts = sys.argv[1:]
    klds = []
    for theirs, ours in zip(logits(parent, texts), logits(artifact, texts), strict=True):
        ln_p, ln_q = log_softmax(theirs), log_softmax(ours)
        klds.append((np.exp(ln_p) * (ln_p - ln_q)).sum(axis=1))
    print(json.dumps({"kld": float(np.concatenate(klds).mean())}))


if __name__ == "__main__":
    main()
