"""The `--slo` of a command line: a YAML file, a preset's name, or an SLO as text."""

from pathlib import Path

import yaml

from loadtest.slo import Slo, parse_slo

HELP = "a YAML file, the name of a preset, or text such as ttft_p99=500ms,tpot_p99=50ms"
SUFFIXES = (".yaml", ".yml")


def read_slo(text: str) -> Slo:
    """Raises ValueError with every mistake, and OSError for a file that cannot be read."""
    if not text.endswith(SUFFIXES):
        return parse_slo(text)
    try:
        written = yaml.safe_load(Path(text).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{text} is not YAML: {error}") from error
    if not isinstance(written, str | dict):
        raise ValueError(f"{text} must hold an SLO as a mapping, not {written!r:.40}")
    try:
        return parse_slo(written)
    except ValueError as error:
        raise ValueError(f"{text}: {error}") from error
