"""A gateway's switch in a process of its own, with one endless request on one engine.

`python -m tests.serve_app.lonely_switch ENDPOINT PUBLIC_KEY`; runs until it is killed.
"""

import signal
import sys

from serve_app.engine_address import EngineAddress
from tests.serve_app.builders import request
from tests.serve_app.switch_fleet import Fleet


def main(endpoint: str, public_key: str) -> None:
    fleet = Fleet()
    fleet.switch.set_members({"a": EngineAddress(endpoint, public_key)})
    fleet.attach()
    fleet.front.add(request("r", max_tokens=1_000_000))
    signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
