"""The recipes, and which models they fit."""

import pytest

from serve_app.compress.recipes import RECIPES, misfits, served_dtype

LLAMA = {"hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32}


@pytest.mark.parametrize("name", RECIPES)
def test_a_common_shape_fits_every_recipe(name: str):
    assert misfits(RECIPES[name], LLAMA) == []


def test_what_the_groups_do_not_divide_is_named():
    config = {"hidden_size": 896, "intermediate_size": 4864 + 32, "num_attention_heads": 14}
    assert misfits(RECIPES["w4a16"], config) == ["intermediate_size 4896"]
    assert misfits(RECIPES["w4a16"], {**config, "head_dim": 48})[-1] == (
        "num_attention_heads * head_dim 672"
    )
    assert misfits(RECIPES["int8"], config) == []


def test_the_language_model_of_a_multimodal_one_counts():
    assert misfits(RECIPES["w4a16"], {"text_config": {"hidden_size": 100}}) == ["hidden_size 100"]


def test_rounded_weights_are_not_served_in_float32():
    served = {name: served_dtype(recipe, "float32") for name, recipe in RECIPES.items()}
    assert {name for name, dtype in served.items() if dtype == "float32"} == {
        *("sparse50", "sparse24")
    }
    assert served_dtype(RECIPES["int8"], "float16") == "float16"


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
def test_nothing_is_rounded_by_gptq_once_it_is_pruned(recipe):
    """It would fill the zeros again."""
    first, *later = [[name for name, _ in stage.modifiers] for stage in recipe.stages]
    if first == ["SparseGPTModifier"]:
        assert all(names == ["QuantizationModifier"] for names in later)
