"""What the shell offers for options whose values have names; choices of a fixed set it knows by themselves."""

from __future__ import annotations


def recipe_names(incomplete: str) -> list[str]:
    """The recipes that come with the package."""
    from toolkit.training.recipes.recipe import available

    return [name for name in available() if name.startswith(incomplete)]


def devices(incomplete: str) -> list[str]:
    """Where a model may run."""
    return [name for name in ("auto", "cpu", "cuda") if name.startswith(incomplete)]
