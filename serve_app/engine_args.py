"""What vLLM makes of a model's `engine:` and `api:`: names, types and combinations, by vLLM itself.

Every key is checked against vLLM's own fields and every value goes through vLLM's own command-line
parser, so `tokenfleet check` says what the vLLM server would say, without starting an engine, and a
new vLLM needs no change here. What only a loaded model can tell (does `max_model_len` fit, is there
memory) stays the engine's to report.
"""

import argparse
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from functools import cache
from importlib import import_module
from typing import Annotated, Any, NoReturn

import annotated_types
from pydantic import TypeAdapter, ValidationError
from vllm.config import CacheConfig, LoRAConfig, ModelConfig, ParallelConfig, SchedulerConfig
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.launchers.cli_args import (
    FrontendArgs,
    make_arg_parser,
    validate_parsed_serve_args,
)
from vllm.entrypoints.launchers.launcher import validate_api_server_args
from vllm.exceptions import VLLMError
from vllm.reasoning import ReasoningParserManager
from vllm.tool_parsers import ToolParserManager
from vllm.utils.argparse_utils import FlexibleArgumentParser

from cluster.demo_defaults import DEMO_SOURCE
from cluster.spec import ClusterSpec, ModelSpec, SpecError
from cluster.spec_errors import unknown_key
from serve_app import settings

# What vLLM raises where it dislikes a value.
_COMPLAINTS = (ValueError, TypeError, KeyError, OSError, NotImplementedError, VLLMError)


def resolve_source(source: str) -> str:
    """What vLLM calls `model`: the demo's folder, or `source` with `~` and `$VAR` replaced.

    Raises SpecError for a variable that is not set on this node.
    """
    if source == DEMO_SOURCE:
        return str(import_module("serve_app.demo").MODEL_PATH)
    try:
        return settings.expand(source)
    except KeyError as error:
        raise SpecError([("source", f"{source!r}: ${error.args[0]} is not set here")]) from None


def api_server_args(model: ModelSpec) -> argparse.Namespace:
    """The namespace that vLLM's API server and `AsyncEngineArgs.from_cli_args` read for `model`.

    Imports the parser plugins that `model` names, as vLLM's server does before it checks them.
    Raises SpecError with every violation, at `engine.<key>` or `api.<key>`.
    """
    found = [*_violations("engine", model.engine, _ENGINE_KEYS)]
    found += _violations("api", model.api, _API_KEYS)
    if found:
        raise SpecError(found)
    args = _parse({**model.engine, **model.api})
    args.model = resolve_source(model.source)
    args.served_model_name = [model.name]
    with _reported("api"):
        _check_combinations(args)
    return args


def engine_args(model: ModelSpec) -> AsyncEngineArgs:
    """vLLM's engine arguments for `model`. Raises SpecError as `api_server_args` does."""
    args = api_server_args(model)
    with _reported("engine"):
        return AsyncEngineArgs.from_cli_args(args)


def check(spec: ClusterSpec) -> None:
    """Raise SpecError with what vLLM finds wrong in any model, at `models[i].engine.<key>` …"""
    found: list[tuple[str, str]] = []
    for index, model in enumerate(spec.models):
        try:
            engine_args(model)
        except SpecError as error:
            found += [(f"models[{index}].{path}", text) for path, text in error.violations]
    if found:
        raise SpecError(found)


class _Parser(FlexibleArgumentParser):
    """vLLM's parser, raising instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)

    def has(self, option: str) -> bool:
        return option in self._option_string_actions

    def nargs(self, option: str) -> int | str | None:
        """argparse's word for how many values `option` takes: 0 for a flag, "+" for a list."""
        return self._option_string_actions[option].nargs


@cache
def _parser() -> _Parser:
    parser = _Parser(add_help=False, allow_abbrev=False)
    make_arg_parser(parser)
    return parser


_ENGINE_KEYS = frozenset(f.name for f in fields(AsyncEngineArgs))
_API_KEYS = frozenset(f.name for f in fields(FrontendArgs))
_TEXT_KEYS = frozenset(
    f.name for f in (*fields(AsyncEngineArgs), *fields(FrontendArgs)) if f.type in (str, str | None)
)


def _violations(
    section: str, given: Mapping[str, Any], known: frozenset[str]
) -> Iterator[tuple[str, str]]:
    for key, value in given.items():
        message = _violation(key, value) if key in known else _misplaced(section, key, known)
        if message:
            yield f"{section}.{key}", message


def _misplaced(section: str, key: str, known: frozenset[str]) -> str:
    other, keys = ("api", _API_KEYS) if section == "engine" else ("engine", _ENGINE_KEYS)
    return f"belongs under {other}:" if key in keys else unknown_key(key, known)


def _violation(key: str, value: Any) -> str | None:
    """vLLM's complaint about one value, or None."""
    try:
        parsed = getattr(_parse({key: value}), key)
    except _COMPLAINTS as error:
        return _one_line(str(error))
    if key in _TEXT_KEYS and not isinstance(value, str):
        return f"expects text, got {value!r}"  # a command line has only text, and would take it
    return _out_of_bounds(key, parsed)


def _out_of_bounds(key: str, parsed: Any) -> str | None:
    """The complaint of the vLLM config class that the value will end in, if it is a number."""
    if not isinstance(parsed, int | float) or key not in _bounds():
        return None
    try:
        bounded: Any = Annotated[type(parsed), *_bounds()[key]]
        TypeAdapter(bounded).validate_python(parsed)
    except ValidationError as error:
        return f"{parsed}: {error.errors()[0]['msg']}"
    return None


@cache
def _bounds() -> dict[str, list[Any]]:
    """The limits that vLLM's config classes declare, by the name that engine arguments share."""
    limits = (annotated_types.Gt, annotated_types.Ge, annotated_types.Lt, annotated_types.Le)
    found = {
        name: [rule for rule in field.metadata if isinstance(rule, limits)]
        for config in (ModelConfig, CacheConfig, ParallelConfig, SchedulerConfig, LoRAConfig)
        for name, field in config.__pydantic_fields__.items()
    }
    return {name: rules for name, rules in found.items() if rules}


def _parse(given: Mapping[str, Any]) -> argparse.Namespace:
    """vLLM's namespace with `given` set. Raises ValueError with vLLM's message."""
    parser = _parser()
    known = [key for key in given if parser.has(_option(key))]
    args = vars(parser.parse_args([word for key in known for word in _argv(key, given[key])]))
    for key, value in given.items():
        # Verbatim: fields that vLLM gives no option (mamba_config), and values that its command
        # line would leave as text for a later stage to read (optimization_level).
        if key not in known or (isinstance(args[key], str) and not isinstance(value, str)):
            args[key] = value
    return argparse.Namespace(**args)


def _option(key: str) -> str:
    return "--" + key.replace("_", "-")


def _argv(key: str, value: Any) -> list[str]:
    """`value` as vLLM's command line spells it."""
    parser, option = _parser(), _option(key)
    nargs = parser.nargs(option)
    if value is True and nargs in (0, "?"):
        return [option]
    if value is False and nargs == 0:
        return [] if parser.get_default(key) is False else [f"--no-{option[2:]}"]
    if isinstance(value, list) and nargs not in (0, None):
        return [option, *map(_word, value)]
    return [f"{option}={_word(value)}"]


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _check_combinations(args: argparse.Namespace) -> None:
    """What vLLM's server checks before it starts, in its order (`setup_server`)."""
    validate_parsed_serve_args(args)
    if args.tool_parser_plugin:
        ToolParserManager.import_tool_parser(args.tool_parser_plugin)
    if args.reasoning_parser_plugin:
        ReasoningParserManager.import_reasoning_parser(args.reasoning_parser_plugin)
    if args.reasoning_parser:  # vLLM looks for it later, when the app starts
        ReasoningParserManager.get_reasoning_parser(args.reasoning_parser)
    validate_api_server_args(args)


@contextmanager
def _reported(path: str) -> Iterator[None]:
    """Report vLLM's complaints about a whole section as violations at `path`."""
    try:
        yield
    except _COMPLAINTS as error:
        message = str(error.args[0] if isinstance(error, KeyError) else error)
        raise SpecError([(path, _one_line(message.removeprefix("Error: ")))]) from error


def _one_line(message: str) -> str:
    """vLLM's message without argparse's and pydantic's trimmings: the key path says where."""
    text = re.sub(
        r"^argument \S+: | \[type=.*\]$|^ *For further information.*", "", message, flags=re.M
    )
    return ": ".join(line.strip() for line in text.splitlines() if line.strip())
