"""Which artifacts a commit should have: the setting for everything, and the policies that apply to its repo."""

from django.conf import settings

from conversion.naming import NamingError, UnsupportedArchitecture, family_for
from conversion.recipes import Choice
from registry.models import Commit, Policy


def wanted_recipes(commit: Commit) -> list[Choice]:
    """What HOLDFAST_AUTO_CONVERT and the policies ask for, each once, if the commit can be converted.

    Asks the facts that inspection wrote down; of a commit that was not inspected nothing is wanted yet. Two queries,
    and one for each policy that is for base models only.
    """
    policies = Policy.objects.filter(is_active=True)
    names = [*settings.HOLDFAST_AUTO_CONVERT]
    for policy in policies:
        if policy.applies_to(commit.repo, commit.parameter_count):
            names += policy.recipes
    wanted = [Choice.of(name) for name in dict.fromkeys(name.upper() for name in names)]
    return wanted if wanted and _is_supported(commit) and has_weights(commit) else []


def save_policy(
    name: str,
    recipes: list[str],
    *,
    repos: str = "*",
    max_parameters: int | None = None,
    base_only: bool = False,
) -> Policy:
    """The policy of that name says exactly this from now on. Raises NamingError for what no policy may say."""
    if not 0 < len(name) <= 100 or not 0 < len(repos) <= 200:
        raise NamingError(
            "bad-policy", "a policy has a name of 1 to 100 characters and a pattern of 1 to 200."
        )
    if not recipes:
        raise NamingError("bad-policy", f"policy {name} names no recipe; remove it instead.")
    if max_parameters is not None and max_parameters < 1:
        raise NamingError("bad-policy", f"policy {name}: the largest number of parameters must be 1 or more.")
    known = [Choice.of(recipe).name for recipe in recipes]
    policy, _ = Policy.objects.update_or_create(
        name=name,
        defaults={
            "repos": repos, "max_parameters": max_parameters, "base_only": base_only,
            "recipes": list(dict.fromkeys(known)), "is_active": True,
        },
    )  # fmt: skip
    return policy


def _is_supported(commit: Commit) -> bool:
    try:
        family_for(commit.facts.get("config") or {})
    except UnsupportedArchitecture:
        return False
    return True


def has_weights(commit: Commit) -> bool:
    """Whether safetensors lie at the top of the commit. One query."""
    return commit.files.filter(path__endswith=".safetensors").exclude(path__contains="/").exists()
