"""How vLLM's utility calls spread over many engines that look like one.

The API server calls `add_lora`, `sleep`, `reset_prefix_cache`, ... on "the engine". Per method this
table says who is asked, how the answers become one, and what an engine that joins later must be
told so that it is in the same state as the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Scope(Enum):
    """Who answers."""

    ANY = "any"  # one ready engine: they would all say the same
    ALL = "all"  # every ready engine: it changes or reads the state of each


Reduce = Callable[[Sequence[Any]], Any]


def first(values: Sequence[Any]) -> Any:
    """The common answer, of engines that all say the same."""
    return values[0]


def concatenated(values: Sequence[Any]) -> Any:
    """Per-worker lists become one list over all engines' workers."""
    return [item for value in values for item in value]


def shared(values: Sequence[Any]) -> Any:
    """What every engine has (LoRA ids)."""
    return sorted(set(values[0]).intersection(*values[1:]))


@dataclass(frozen=True, slots=True)
class UtilityRule:
    """`journal` names the state a call sets: a later call with the same name replaces it in the
    journal, and one that `clears` it removes it. `{0}` stands for the call's first argument. Where
    the answer False means "in part only", the call clears nothing and sets the state `partly`. A
    quick call only looks: an engine that does not answer it in the time of a step is stuck."""

    scope: Scope = Scope.ALL
    is_quick: bool = False
    reduce: Reduce = first
    journal: str | None = None
    clears: tuple[str, ...] = ()
    partly: str | None = None


_RULES: dict[str, UtilityRule] = {
    "get_supported_tasks": UtilityRule(Scope.ANY, is_quick=True),
    "get_weight_version": UtilityRule(Scope.ANY, is_quick=True),
    "add_lora": UtilityRule(reduce=all, journal="lora {0}"),
    "pin_lora": UtilityRule(reduce=all, journal="pin {0}"),
    "remove_lora": UtilityRule(reduce=any, clears=("lora {0}", "pin {0}")),
    "list_loras": UtilityRule(is_quick=True, reduce=shared),
    "sleep": UtilityRule(journal="sleep", clears=("wake",)),
    # A full wake-up resumes the scheduler too, whoever paused it; one of some tags does not.
    "wake_up": UtilityRule(reduce=all, clears=("sleep", "pause", "wake"), partly="wake"),
    "is_sleeping": UtilityRule(is_quick=True, reduce=all),
    "pause_scheduler": UtilityRule(journal="pause"),
    "resume_scheduler": UtilityRule(clears=("pause",)),
    "is_scheduler_paused": UtilityRule(is_quick=True, reduce=all),
    "reset_prefix_cache": UtilityRule(reduce=all),
    "set_weight_version": UtilityRule(journal="weight version"),
    "collective_rpc": UtilityRule(reduce=concatenated),
    "compute_weight_checksums": UtilityRule(reduce=concatenated),
}

_DEFAULT = UtilityRule()


def rule_of(method: str) -> UtilityRule:
    """The rule of a method; one that is not in the table goes to all, the first answer stands."""
    return _RULES.get(method, _DEFAULT)


@dataclass(slots=True)
class Journal:
    """The state-changing calls that an engine joining now must be given, oldest first."""

    calls: dict[str, tuple[str, list[Any]]] = field(default_factory=dict)

    def record(self, method: str, args: list[Any], answer: Any = None) -> None:
        """Note a call that succeeded, with the engines' common answer."""
        rule = rule_of(method)
        in_part = rule.partly is not None and answer is False
        for template in () if in_part else rule.clears:
            self.calls.pop(_key(template, args), None)
        state = rule.partly if in_part else rule.journal
        if state is not None:
            # In place of an earlier one: what was built on it (a pinned adapter) still follows.
            self.calls[_key(state, args)] = (method, args)

    @property
    def holds_requests(self) -> bool:
        """Whether an operator put the engines to sleep or paused them: aborts are then meant."""
        return "sleep" in self.calls or "pause" in self.calls

    def __iter__(self) -> Iterator[tuple[str, list[Any]]]:
        return iter(tuple(self.calls.values()))


def _key(template: str, args: list[Any]) -> str:
    return template.format(_identity(args[0])) if "{0}" in template else template


def _identity(argument: Any) -> Any:
    # `add_lora` takes a LoRARequest, an array-like struct that arrives as [name, int_id, ...];
    # `remove_lora` and `pin_lora` take the int id alone.
    return argument[1] if isinstance(argument, list) else argument
