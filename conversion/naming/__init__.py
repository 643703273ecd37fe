"""From Hugging Face's names to GGUF's: one family of models per file, one line in `families`.

The families are imported when the first is asked for: making a GGUF from a GGUF needs none, and starts quicker.
"""

from conversion.naming.base import Config, Family, NamingError, Target, UnsupportedArchitecture

__all__ = [
    "Family",
    "NamingError",
    "Target",
    "UnsupportedArchitecture",
    "family_for",
    "supported",
]


def supported() -> list[str]:
    """The architectures that can be converted, as config.json spells them."""
    from conversion.naming.families import BY_ARCHITECTURE

    return sorted(BY_ARCHITECTURE)


def family_for(config: Config) -> Family:
    """The family of the config's first architecture; UnsupportedArchitecture lists what is supported."""
    from conversion.naming.families import BY_ARCHITECTURE

    named = config.get("architectures")
    architecture = str(named[0])[:200] if isinstance(named, list) and named else ""
    family = BY_ARCHITECTURE.get(architecture)
    if family is None:
        raise UnsupportedArchitecture(architecture, supported())
    return (family.variant(config) if family.variant is not None else None) or family
