"""Warnings are errors, but for those Ray, torch and vLLM give about themselves at import."""

import pytest

_THEIRS = (
    "ignore::DeprecationWarning:ray",
    "ignore::DeprecationWarning:torch",
    "ignore::DeprecationWarning:vllm",
)


def pytest_configure(config: pytest.Config) -> None:
    for line in _THEIRS:
        config.addinivalue_line("filterwarnings", line)
