"""The README's client and its first failure, on a real cluster."""

import json
import subprocess
import sys
from pathlib import Path

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


def test_its_stream_is_resumed(two_engines: Fleet, tmp_path: Path) -> None:
    commands = _at(two_engines, readme.block("bash", holding="Last-Event-ID"))
    plain, _, _ = commands.partition(" |\n")
    undisturbed = _printed(plain.replace("-H 'x-tokenfleet-resumable: true'", ""))
    streamed = _printed(commands, tmp_path)
    assert (tmp_path / "begun").read_bytes().count(b"\nid: ") == 19
    assert _text(streamed) == _text(undisturbed)


def _printed(commands: str, folder: Path | None = None) -> bytes:
    command = ["bash", "-ec", commands]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=folder).stdout


def _at(fleet: Fleet, commands: str) -> str:
    return commands.replace("localhost:8000", f"127.0.0.1:{fleet.port}")


def _text(stream: bytes) -> str:
    lines = [line for line in stream.decode().splitlines() if line.startswith("data: ")]
    events = [line.removeprefix("data: ") for line in lines]
    assert events.pop() == "[DONE]"
    return "".join(json.loads(event)["choices"][0]["text"] for event in events)
