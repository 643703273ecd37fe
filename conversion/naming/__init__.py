"""From Hugging Face's names to GGUF's: one family of models per file, one line here."""

from conversion.naming.base import Config, Family, NamingError, Target, UnsupportedArchitecture
from conversion.naming.llama import LLAMA

__all__ = [
    "FAMILIES",
    "Family",
    "NamingError",
    "Target",
    "UnsupportedArchitecture",
    "family_for",
    "supported",
]

FAMILIES: tuple[Family, ...] = (LLAMA,)

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
