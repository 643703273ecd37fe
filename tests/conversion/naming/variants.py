"""Small checkpoints that each go another way through the converter; the reference converted every one of them.

python -m tests.conversion.naming.variants FOLDER       # writes them, to be converted by the reference
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

from tests.conversion.naming.models import config, write_checkpoint


def mistral(folder: Path) -> None:
    """Another architecture of the family, BF16, in two shards."""
    settings = config(
        architectures=["MistralForCausalLM"], model_type="mistral", rope_theta=1e6, sliding_window=None
    )
    write_checkpoint(folder, settings, dtype="BF16", shards=2)


def old_linear(folder: Path) -> None:
    """A config from before grouped queries and rope_parameters, F16."""
    settings = config(rope_scaling={"type": "linear", "factor": 4.0}, num_key_value_heads=4)
    write_checkpoint(folder, settings, dtype="F16")
    del settings["num_key_value_heads"]
    (folder / "config.json").write_text(json.dumps(settings))


def yarn_tied(folder: Path) -> None:
    """YaRN, and embeddings that serve as the output too."""
    rope = {
        "rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 64, "beta_fast": 32, "beta_slow": 1,
        "attention_factor": 1.2,
    }  # fmt: skip
    write_checkpoint(folder, config(rope_scaling=rope, tie_word_embeddings=True, rope_theta=50000.0))


def padded_vocabulary(folder: Path) -> None:
    """More rows than pieces, tokens added in two ways, a chat template."""
    write_checkpoint(folder, config(vocab_size=1100, rms_norm_eps=1e-6))
    (folder / "added_tokens.json").write_text('{"<extra>":1025}')
    path = folder / "tokenizer_config.json"
    added = {
        "1024": {"content": "<|im_start|>", "special": True}, "1026": {"content": "\u2581x", "special": False},
    }  # fmt: skip
    changes = {
        "added_tokens_decoder": added, "chat_template": "{{ x }}", "pad_token": "<unk>", "add_prefix_space": True,
    }  # fmt: skip
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


VARIANTS: dict[str, Callable[[Path], None]] = {
    "mistral-tiny": mistral,
    "old-linear-7B": old_linear,
    "yarn-tied-v2": yarn_tied,
    "padded-vocab-chat": padded_vocabulary,
}

if __name__ == "__main__":
    for name, write in VARIANTS.items():
        write(Path(sys.argv[1]) / name)
