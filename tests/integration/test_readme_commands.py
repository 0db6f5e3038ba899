"""The README's client and its first failure, on a real cluster."""

import json
import re
import subprocess
import sys

from tests import readme
from tests.integration.fleet import Fleet
from tests.waiting import until


def test_its_client_gets_its_answer(two_engines: Fleet) -> None:
    code = _at(two_engines, readme.block("python", holding="OpenAI("))
    printed = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE)
    assert printed.stdout == b"The capital of France is Paris."


def test_its_kill_moves_its_stream(two_engines: Fleet) -> None:
    commands = _at(two_engines, readme.block("bash", holding="kill -9"))
    ask, kill = re.findall(r"^(curl .*?) &$|^(kill -9 .*)$", commands, re.DOTALL | re.MULTILINE)
    undisturbed = subprocess.run(["bash", "-c", ask[0]], check=True, stdout=subprocess.PIPE).stdout
    moved = two_engines.flights()["moved"]
    with subprocess.Popen(["bash", "-c", f"exec {ask[0]}"], stdout=subprocess.PIPE) as client:
        until(lambda: any(engine["running"] for engine in two_engines.engines()))
        subprocess.run(["bash", "-c", kill[1]], check=True)
        streamed, _ = client.communicate()
    assert client.returncode == 0
    assert two_engines.flights()["moved"] == moved + 1
    assert _text(streamed) == _text(undisturbed)


def _at(fleet: Fleet, commands: str) -> str:
    return commands.replace("localhost:8000", f"127.0.0.1:{fleet.port}")


def _text(stream: bytes) -> str:
    events = [line.removeprefix("data: ") for line in stream.decode().splitlines() if line]
    assert events.pop() == "[DONE]"
    return "".join(json.loads(event)["choices"][0]["text"] for event in events)
