"""What is compared: `base`, and what is laid over it. Several may be joined, as in `int8+ngram`.

| variant                     | what is changed                                                    |
|-----------------------------|--------------------------------------------------------------------|
| a recipe of `compress`      | `source`: the folder that the recipe makes of the base's; bfloat16 |
|                             | instead of float32 where it rounds                                 |
| `ngram`                     | up to 4 tokens guessed from what the prompt and the answer repeat  |
| `compile`, `eager`          | torch.compile (and CUDA graphs) or neither                         |
| `bf16`                      | weights, activations and KV in bfloat16                            |
| `latency`, ... (a preset)   | `preset`                                                           |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, get_args

from cluster.presets import Preset
from serve_app.compress.recipes import RECIPES, Recipe, served_dtype

BASE, AGAIN = "base", "base again"

ENGINE: Mapping[str, Mapping[str, Any]] = {
    "ngram": {
        "speculative_config": {
            "method": "ngram",
            "num_speculative_tokens": 4,
            "prompt_lookup_min": 2,
            "prompt_lookup_max": 4,
        }
    },
    "compile": {"enforce_eager": False},
    "eager": {"enforce_eager": True},
    "bf16": {"dtype": "bfloat16"},
}
PRESETS: tuple[str, ...] = get_args(Preset)
KNOWN = (*RECIPES, *ENGINE, *PRESETS)


class VariantError(ValueError):
    """There is no such variant."""


def parts(variant: str) -> list[str]:
    """`int8+ngram` is int8 and ngram. Raises VariantError."""
    found = variant.split("+")
    for part in found:
        if part not in KNOWN:
            raise VariantError(f"no variant {part!r}; there are {', '.join(KNOWN)}")
    if sum(part in RECIPES for part in found) > 1:
        raise VariantError(f"{variant}: one recipe at most; some recipes are two in one")
    return found


def recipe_of(variant: str) -> str | None:
    """That its model is made by."""
    if variant in (BASE, AGAIN):
        return None
    return next((part for part in parts(variant) if part in RECIPES), None)


def varied(model: Mapping[str, Any], variant: str, made: Mapping[str, str]) -> dict[str, Any]:
    """A spec's model under a variant. `made`: {recipe: folder}."""
    found = deepcopy(dict(model))
    if variant in (BASE, AGAIN):
        return found
    for part in parts(variant):
        if part in RECIPES:
            found["source"] = made[part]
            found["engine"] = _of_recipe(RECIPES[part], found.get("engine") or {})
        elif part in PRESETS:
            found["preset"] = part
        else:
            found["engine"] = {**(found.get("engine") or {}), **ENGINE[part]}
    return found


def _of_recipe(recipe: Recipe, engine: Mapping[str, Any]) -> dict[str, Any]:
    dtype = engine.get("dtype")
    return {**engine, **({"dtype": served_dtype(recipe, dtype)} if dtype else {})}


def with_base(variants: Sequence[str]) -> list[str]:
    """In the order in which they are run: the base at both ends, which shows what the machine's
    own ups and downs are."""
    return [BASE, *variants, AGAIN]
