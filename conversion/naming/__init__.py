"""From Hugging Face's names to GGUF's: one family of models per file, one line here."""

from conversion.naming.base import Config, Family, NamingError, Target, UnsupportedArchitecture
from conversion.naming.granite import GRANITE
from conversion.naming.granite_moe import GRANITE_MOE
from conversion.naming.llama import LLAMA
from conversion.naming.llama4 import LLAMA4
from conversion.naming.mixtral import MIXTRAL
from conversion.naming.olmo import OLMO
from conversion.naming.olmo2 import OLMO2
from conversion.naming.olmoe import OLMOE
from conversion.naming.qwen2 import QWEN2
from conversion.naming.qwen3 import QWEN3
from conversion.naming.qwen_moe import QWEN2_MOE, QWEN3_MOE
from conversion.naming.smollm3 import SMOLLM3
from conversion.naming.stablelm import STABLELM

__all__ = [
    "FAMILIES",
    "Family",
    "NamingError",
    "Target",
    "UnsupportedArchitecture",
    "family_for",
    "supported",
]

FAMILIES: tuple[Family, ...] = (
    LLAMA,
    LLAMA4,
    MIXTRAL,
    QWEN2,
    QWEN2_MOE,
    QWEN3,
    QWEN3_MOE,
    GRANITE,
    GRANITE_MOE,
    SMOLLM3,
    OLMO,
    OLMO2,
    OLMOE,
    STABLELM,
)

_BY_ARCHITECTURE = {name: family for family in FAMILIES for name in family.architectures}


def supported() -> list[str]:
    """The architectures that can be converted, as config.json spells them."""
    return sorted(_BY_ARCHITECTURE)


def family_for(config: Config) -> Family:
    """The family of the config's first architecture; UnsupportedArchitecture lists what is supported."""
    named = config.get("architectures")
    architecture = str(named[0])[:200] if isinstance(named, list) and named else ""
    family = _BY_ARCHITECTURE.get(architecture)
    if family is None:
        raise UnsupportedArchitecture(architecture, supported())
    return (family.variant(config) if family.variant is not None else None) or family
