"""Small traces in the formats of recorded ones."""

import json
from collections.abc import Iterable
from pathlib import Path

MooncakeLine = tuple[int, int, int, list[int]]
"""Milliseconds, input and output tokens, block ids."""

# Two conversations, of which the second turn begins as the first does, and one prompt alone.
LINES: list[MooncakeLine] = [
    (0, 6755, 500, [*range(14)]),
    (0, 1100, 30, [20, 21, 22]),
    (3000, 7000, 490, [*range(13), 30]),
    (6000, 513, 1, [40, 41]),
    (6000, 1536, 80, [20, 21, 50]),
    (9000, 100, 900, [60]),
]


def mooncake_file(folder: Path, lines: Iterable[MooncakeLine] = LINES) -> Path:
    path = folder / "mooncake.jsonl"
    keys = ("timestamp", "input_length", "output_length", "hash_ids")
    path.write_text(
        "".join(json.dumps(dict(zip(keys, line, strict=True))) + "\n" for line in lines)
    )
    return path


def azure_file(folder: Path) -> Path:
    path = folder / "azure.csv"
    path.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:15:46.6805900,374,44\n"
        "2023-11-16 18:15:50.9951690,396,109\n"
        "2023-11-16 18:15:51.2225670,879,55\n"
    )
    return path
