"""The README's client and its first failure, on a real cluster."""

import json
import subprocess
import sys

from tests import readme
from tests.integration.fleet import Fleet


def test_its_client_gets_its_answer(two_engines: Fleet) -> None:
    code = _at(two_engines, readme.block("python", holding="OpenAI("))
    printed = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE)
    assert printed.stdout == b"The capital of France is Paris."


def test_its_kill_moves_its_stream(two_engines: Fleet) -> None:
    commands = _at(two_engines, readme.block("bash", holding="kill -9"))
    commands = commands[commands.index("curl") :]  # the cluster runs
    undisturbed = _printed(commands[: commands.index(" &\n")])
    moved = two_engines.flights()["moved"]
    streamed = _printed(f"{commands}\nwait")
    assert two_engines.flights()["moved"] == moved + 1
    assert _text(streamed) == _text(undisturbed)


def _printed(commands: str) -> bytes:
    return subprocess.run(["bash", "-ec", commands], check=True, stdout=subprocess.PIPE).stdout


def _at(fleet: Fleet, commands: str) -> str:
    return commands.replace("localhost:8000", f"127.0.0.1:{fleet.port}")


def _text(stream: bytes) -> str:
    events = [line.removeprefix("data: ") for line in stream.decode().splitlines() if line]
    assert events.pop() == "[DONE]"
    return "".join(json.loads(event)["choices"][0]["text"] for event in events)
