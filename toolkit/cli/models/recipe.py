"""`toolkit recipe`: the default and the documented networks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolkit.cli import console, help

app = typer.Typer(
    cls=help.Group,
    no_args_is_help=True,
    help="The recipes, the default and the documented networks: list, show, copy.",
)


@app.command("list")
def list_recipes() -> None:
    """List the recipes: name, input, parameters, what it is; first `transfer`, the default, and its variants."""
    from toolkit.training.recipes import recipe as recipes

    loaded = [recipes.load_recipe(name) for name in recipes.available()]
    loaded.sort(key=lambda recipe: recipe.backbone is None)
    width = max(len(recipe.name) for recipe in loaded)
    for recipe in loaded:
        spec = recipe.preprocess
        size = f"{spec.height}x{spec.width}x{spec.channels}"
        kind = "" if recipe.backbone else "documented network: "
        console.out(f"{recipe.name:{width}}  {size:>9}  {recipe.parameters:>10,}  {kind}{recipe.title}")


@app.command()
def show(name: Annotated[str, typer.Argument(metavar="NAME", help="A documented recipe, or a recipe file.")]) -> None:
    """Print a recipe as it stands, after checking it."""
    from toolkit.training.recipes import recipe as recipes

    console.out(recipes.load_recipe(name).text.rstrip("\n"), document=True)


@app.command()
def copy(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A recipe's name.")],
    out: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="The copy.", show_default="NAME.toml in this folder")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE.")] = False,
) -> None:
    """Copy a recipe to a file of your own, to change it."""
    from toolkit.training.recipes import recipe as recipes

    target = recipes.copy_recipe(name, out or Path(f"{Path(name).stem}.toml"), force=force)
    console.say(f"{target}: change it, then: toolkit train DATA --recipe {target}")
