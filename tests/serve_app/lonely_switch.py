"""A gateway's switch in a process of its own, with one endless request on one engine.

`python -m tests.serve_app.lonely_switch ENDPOINT`; runs until it is killed.
"""

import signal
import sys

from tests.serve_app.builders import request
from tests.serve_app.switched import Fleet


def main(endpoint: str) -> None:
    fleet = Fleet()
    fleet.switch.set_members({"a": endpoint})
    fleet.attach()
    fleet.front.add(request("r", max_tokens=1_000_000))
    signal.pause()


if __name__ == "__main__":
    main(sys.argv[1])
