"""llm-compressor's own virtual environment, made when it is first needed and kept.

It lies beside the user's other caches, under a name that its requirements and the interpreter
decide, so a new version of them gets a new one. uv installs it: it knows where CPU builds of torch
are, and where a GPU's are.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
CONSTRAINTS = Path(__file__).with_name("constraints.txt")
FOLDER_ENV = "TOKENFLEET_COMPRESS_ENV"
READY = ".tokenfleet-ready"


class NotMadeError(RuntimeError):
    """The environment could not be made; the message is uv's."""


def python() -> Path:
    """The environment's interpreter. Makes the environment, which takes minutes, where there is
    none. Raises NotMadeError."""
    folder = _folder()
    if not is_made():
        _make(folder)
    return folder / "bin" / "python"


def is_made() -> bool:
    return (_folder() / READY).exists()


def _folder() -> Path:
    if given := os.environ.get(FOLDER_ENV):
        return Path(given).absolute()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    wanted = REQUIREMENTS.read_bytes() + CONSTRAINTS.read_bytes() + sys.version.encode()
    return cache / "tokenfleet" / f"compress-{hashlib.sha256(wanted).hexdigest()[:12]}"


def _make(folder: Path) -> None:
    """Nobody finds it half made: it has its marker last."""
    print(f"making llm-compressor's environment (once, minutes): {folder}", file=sys.stderr)
    uv = _uv()
    folder.parent.mkdir(parents=True, exist_ok=True)
    _run([uv, "venv", "--clear", "--python", sys.executable, str(folder)], {})
    # A folder of wheels that the user named has its torch; else uv knows which one this machine is
    # to have.
    found = os.environ.get("PIP_FIND_LINKS", "").split()
    where = [part for link in found for part in ("--find-links", link)]
    command = [
        *(uv, "pip", "install", "--compile-bytecode", "--requirement", str(REQUIREMENTS)),
        *("--constraint", str(CONSTRAINTS)),
        *(where or ["--torch-backend", "auto"]),
    ]
    _run(command, {"VIRTUAL_ENV": str(folder)})
    (folder / READY).touch()


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    if not beside.exists():
        raise NotMadeError("uv is not installed here: pip install 'tokenfleet[compress]'")
    return str(beside)


def _run(command: list[str], more: dict[str, str]) -> None:
    """The last of what it says is in the error."""
    done = subprocess.run(
        command, env=os.environ | more, stderr=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise NotMadeError(f"{' '.join(command)}:\n{done.stderr.strip()[-2000:]}")


def compressor() -> str:
    """llm-compressor's version."""
    return REQUIREMENTS.read_text().split("==")[1].split()[0]
