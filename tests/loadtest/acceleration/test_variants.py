"""What a variant changes of a spec's model."""

import pytest

from loadtest.acceleration import variants

MODEL = {"name": "demo", "source": "demo", "engine": {"max_model_len": 4096}}
MADE = {"int8": "/models/int8"}


def test_the_base_is_the_model_as_it_is():
    assert variants.varied(MODEL, variants.BASE, {}) == MODEL
    assert variants.varied(MODEL, variants.AGAIN, {}) == MODEL


def test_a_recipe_has_another_source_and_all_else_alike():
    assert variants.varied(MODEL, "int8", MADE) == {**MODEL, "source": "/models/int8"}
    assert variants.recipe_of("int8") == "int8"


@pytest.mark.parametrize(("recipe", "dtype"), [("int8", "bfloat16"), ("sparse50", "float32")])
def test_what_is_rounded_is_not_computed_in_float32(recipe: str, dtype: str):
    model = {**MODEL, "engine": {"dtype": "float32"}}
    assert variants.varied(model, recipe, {recipe: "/m"})["engine"] == {"dtype": dtype}


def test_several_are_laid_over_each_other():
    found = variants.varied(MODEL, "int8+ngram+latency", MADE)
    assert (found["source"], found["preset"]) == ("/models/int8", "latency")
    assert found["engine"]["speculative_config"]["method"] == "ngram"
    assert found["engine"]["max_model_len"] == 4096
    assert "speculative_config" not in MODEL["engine"]


@pytest.mark.parametrize(
    ("variant", "said"),
    [("int3", "no variant 'int3'; there are "), ("int8+w4a16", "one recipe at most")],
)
def test_what_there_is_not_is_refused_by_name(variant: str, said: str):
    with pytest.raises(variants.VariantError, match=said):
        variants.parts(variant)


def test_the_base_stands_at_both_ends():
    assert variants.with_base(["int8"]) == [variants.BASE, "int8", variants.AGAIN]
