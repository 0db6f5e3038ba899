"""The shape of a closed loop's stages, and when its time begins. In a process of its own: whoever
imports Locust is patched by gevent."""

import subprocess
import sys

TICKS = """
from loadtest.runtime.load import Load, Stage
from loadtest.runtime.staged_shape import StagedShape, begin, hold

def at(shape, at_s):
    shape.get_run_time = lambda: at_s
    return shape.tick()[0]

stages = (Stage(users=1), Stage(users=4, from_s=10.0), Stage(users=2, from_s=20.0))
load = Load(name="x", mode="closed", duration_s=30, timeout_s=1, find=None, build=None,
            users=4, stages=stages)
shape = StagedShape(stages)
print(at(shape, 15.0))
begin(shape)
print(*(at(shape, at_s) for at_s in (0.0, 9.9, 10.0, 20.0, 99.0)))
hold(shape, load)
print(at(shape, 15.0))
begin(None)
"""


def test_the_first_stage_is_held_until_the_load_begins_and_the_last_to_its_end() -> None:
    done = subprocess.run([sys.executable, "-c", TICKS], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["1", "1 1 4 2 2", "1"], done.stderr
