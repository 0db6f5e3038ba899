"""What the benchmark asks of the machine it runs on."""

import os
import subprocess
import sys

from loadtest.bench import machine

FIRST = """
import os, subprocess
from loadtest.bench import machine
first = machine.put_client_first()
child = subprocess.run(["sleep", "0"]) and os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK
grandchild = ["python3", "-c", "import os; print(os.sched_getscheduler(0))"]
policy = int(subprocess.run(grandchild, stdout=subprocess.PIPE, text=True).stdout)
print(first, child == os.SCHED_RR, policy == os.SCHED_OTHER)
"""


def test_the_client_comes_first_and_the_servers_it_starts_do_not() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", FIRST], stdout=subprocess.PIPE, text=True, check=True
    )
    first, round_robin, server_is_ordinary = ran.stdout.split()
    assert first == round_robin  # both, or neither where it is not permitted
    assert server_is_ordinary == "True"


def test_waiting_only_grows() -> None:
    before = machine.waited_s()
    os.sched_yield()
    assert machine.waited_s() >= before >= 0
