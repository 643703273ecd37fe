"""What a family takes for granted where a config.json is silent: the defaults of transformers' config classes.

The reference converter reads configs through transformers, so that its metadata holds these defaults, too.
"""

from typing import Any

from conversion.naming.base import Config, read_count
from conversion.naming.hyperparameters import find, full_attention, read_rope, text_settings
from conversion.naming.renaming import check_layers

SIZES = ("num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size")
"""Never taken for granted: a guess would describe another model."""


def with_defaults(config: Config, **defaults: Any) -> dict[str, Any]:
    """The language model's settings, with these defaults for what is absent or null.

    Raises NamingError `bad-config` for absent SIZES and for more layers than llama.cpp runs. As in every config class,
    `num_key_value_heads: null` says that there are as many as heads, whatever the default.
    """
    settings = text_settings(config)
    for key in SIZES:
        read_count(settings, key)
    check_layers(settings["num_hidden_layers"])
    as_many = {"num_key_value_heads": settings["num_attention_heads"]}
    is_null = "num_key_value_heads" in settings and settings["num_key_value_heads"] is None
    defaults = defaults | as_many if is_null else as_many | defaults
    missing = {key: value for key, value in defaults.items() if settings.get(key) is None}
    return settings | missing


def with_rope_theta(settings: dict[str, Any], theta: float = 10000.0) -> dict[str, Any]:
    """The settings, with this base of RoPE where they state none, in any spelling."""
    stated = find(full_attention(read_rope(settings)), "rope_theta")
    return settings if stated is not None else settings | {"rope_theta": theta}


def head_dimension(config: Config) -> int:
    """`head_dim`, or hidden size over heads where the config does not say."""
    size = read_count(config, "hidden_size") // read_count(config, "num_attention_heads")
    return read_count(config, "head_dim", size)
