"""What a model can be made into. Each recipe is one or more stages of llm-compressor's modifiers.

A stage ends in a folder that loads, so an interrupted recipe goes on after the last whole one.
Weights are rounded with GPTQ (Frantar et al. 2022: the error of a column is made up for by those
after it) and pruned with SparseGPT (Frantar and Alistarh 2023), which both need calibration: text
as the model will see it. Rounding after pruning is to the nearest, which leaves zeros zeros; GPTQ
would fill them again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Modifier = tuple[str, Mapping[str, Any]]
"""The name of one of llm-compressor's modifiers, and what it is given."""

TARGETS, HEAD = ["Linear"], ["re:.*lm_head"]
"""The output head stays: with tied embeddings it is the embedding, and its error is every token's.
(A pattern: to what prunes, the layer's name is `lm_head.`, with nothing after the point.)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    modifiers: Sequence[Modifier]
    calibrated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """`serves_on`: where vLLM has kernels for it. `group_size`: inputs that share a scale; every
    layer's must be a multiple of it."""

    name: str
    what: str
    stages: Sequence[Stage]
    serves_on: Literal["any", "gpu"] = "any"
    needs: str = ""
    group_size: int | None = None

    @property
    def calibrated(self) -> bool:
        return any(stage.calibrated for stage in self.stages)

    @property
    def rounds(self) -> bool:
        """Not only prunes."""
        return any("sparsity" not in given for stage in self.stages for _, given in stage.modifiers)


def served_dtype(recipe: Recipe, dtype: str) -> str:
    """What the result computes in, where the source computes in `dtype`: vLLM's kernels for rounded
    weights take no float32."""
    return "bfloat16" if recipe.rounds and dtype == "float32" else dtype


def _pruned(structure: str) -> Stage:
    given = {"targets": TARGETS, "ignore": HEAD, "sparsity": 0.5, "mask_structure": structure}
    return Stage(modifiers=[("SparseGPTModifier", given)], calibrated=True)


def _rounded(scheme: str, by: str = "QuantizationModifier", *, calibrated: bool = False) -> Stage:
    given = {"targets": TARGETS, "ignore": HEAD, "scheme": scheme}
    return Stage(modifiers=[(by, given)], calibrated=calibrated)


def _by_gptq(scheme: str) -> Stage:
    return _rounded(scheme, "GPTQModifier", calibrated=True)


_ALL = (
    Recipe(
        name="int8",
        what="8-bit weights and activations (W8A8), activations scaled per token as they come",
        stages=[_by_gptq("W8A8")],
    ),
    Recipe(
        name="w4a16",
        what="4-bit weights with a scale for 128 inputs, activations as they are",
        stages=[_by_gptq("W4A16")],
        group_size=128,
    ),
    Recipe(
        name="fp8",
        what="8-bit floating point weights and activations; needs no calibration",
        stages=[_rounded("FP8_DYNAMIC")],
        serves_on="gpu",
        needs="a GPU of compute capability 8.9 (L4, H100) or more",
    ),
    Recipe(
        name="nvfp4",
        what="4-bit floating point weights and activations",
        stages=[_rounded("NVFP4", calibrated=True)],
        serves_on="gpu",
        needs="a GPU of compute capability 10.0 (B200) or more",
        group_size=16,
    ),
    Recipe(
        name="sparse50",
        what="half of the weights are 0, wherever they matter least",
        stages=[_pruned("0:0")],
    ),
    Recipe(
        name="sparse24",
        what="two of every four weights in a row are 0",
        stages=[_pruned("2:4")],
        group_size=4,
    ),
    Recipe(
        name="sparse50-int8",
        what="sparse50, then 8-bit weights and activations",
        stages=[_pruned("0:0"), _rounded("W8A8")],
    ),
    Recipe(
        name="sparse24-int8",
        what="sparse24, then 8-bit weights and activations",
        stages=[_pruned("2:4"), _rounded("W8A8")],
        group_size=4,
    ),
)

RECIPES: Mapping[str, Recipe] = {recipe.name: recipe for recipe in _ALL}


def misfits(recipe: Recipe, config: Mapping[str, Any]) -> list[str]:
    """What of a config.json the recipe's groups do not divide: "intermediate_size 320"."""
    if recipe.group_size is None:
        return []
    text = config.get("text_config") or config
    heads, head_dim = text.get("num_attention_heads"), text.get("head_dim")
    sizes = {name: text.get(name) for name in ("hidden_size", "intermediate_size")}
    if heads and head_dim:
        sizes["num_attention_heads * head_dim"] = heads * head_dim
    return [
        f"{name} {size}"
        for name, size in sizes.items()
        if isinstance(size, int) and size % recipe.group_size
    ]
