"""Presets: fields under the user's own, by device."""

from __future__ import annotations

import pytest

from cluster import presets
from cluster.spec import SpecError, dump, parse, resolve_devices


def engine_of(device: str, gpu_build: bool = False, **model):
    raw = {"models": [{"name": "m", "source": "a/b", "resources": {"device": device}, **model}]}
    return resolve_devices(parse(raw), gpu_build=gpu_build).models[0].engine


@pytest.mark.parametrize("preset", ["latency", "throughput", "memory"])
def test_a_preset_is_other_fields_on_a_gpu_than_on_a_cpu(preset):
    gpu, cpu = engine_of("gpu", preset=preset), engine_of("cpu", preset=preset)
    assert gpu == presets.GPU[preset]
    assert cpu == presets.CPU[preset]
    assert gpu != cpu


@pytest.mark.parametrize(("gpu_build", "table"), [(True, presets.GPU), (False, presets.CPU)])
def test_where_the_device_is_found_out_the_preset_follows(gpu_build, table):
    assert engine_of("auto", gpu_build, preset="latency") == table["latency"]


def test_what_the_spec_says_itself_wins():
    engine = engine_of("gpu", preset="memory", engine={"max_num_seqs": 7})
    assert engine == {**presets.GPU["memory"], "max_num_seqs": 7}


def test_none_changes_nothing_and_twice_is_once():
    assert engine_of("gpu", engine={"seed": 1}) == {"seed": 1}
    raw = {"models": [{"name": "m", "source": "a/b", "preset": "latency"}]}
    once = resolve_devices(parse(raw), gpu_build=True)
    assert resolve_devices(once, gpu_build=True) == once
    assert "max_num_seqs: 64" in dump(once)


def test_a_preset_that_there_is_not_is_refused():
    with pytest.raises(SpecError, match="preset"):
        engine_of("gpu", preset="fast")
