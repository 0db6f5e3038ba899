"""Several gateways' `GET /fleet` as one view."""

from typing import Any

from loadtest.chaos.view import Answered, View, read


def engine(id: str, state: str = "ready", pid: int | None = 7, running: int = 0) -> dict[str, Any]:
    return {"id": id, "state": state, "pid": pid, "running": running, "waiting": 0}


def said(*engines: dict[str, Any], active: int = 0, moved: int = 0) -> Answered:
    flights = {"active": active, "moved": moved, "failed": 0, "later": 1}
    body = {"models": [{"name": "other"}, {"name": "m", "engines": engines, "flights": flights}]}
    answered = read(body, "m")
    assert answered is not None
    return answered


def test_an_engine_is_ready_where_every_gateway_has_it() -> None:
    view = View(
        {
            "1": said(engine("a", pid=11), engine("b", pid=12)),
            "2": said(engine("a", pid=11), engine("b", "connecting", None), engine("c", pid=13)),
        }
    )
    assert view.ready == {"a": 11}
    assert view.listed == {"a": 11, "b": 12, "c": 13}


def test_without_gateways_nothing_is_ready() -> None:
    assert View({}).ready == {}
    assert not View({}).is_whole(0, 1)


def test_it_is_whole_with_all_engines_and_none_that_is_gone() -> None:
    assert View({"1": said(engine("a"), engine("b"))}).is_whole(2, 1)
    assert not View({"1": said(engine("a"))}).is_whole(2, 1)
    assert not View({"1": said(engine("a"), engine("b"))}).is_whole(2, 2)
    gone = engine("c", "leaving")
    assert not View({"1": said(engine("a"), engine("b"), gone)}).is_whole(2, 1)


def test_what_is_active_anywhere_counts() -> None:
    assert View({"1": said(active=2), "2": said(active=1)}).active == 3
    assert View({"1": said(engine("a", running=4)), "2": said(engine("a", running=4))}).active == 4


def test_a_model_that_is_not_served_has_no_part() -> None:
    assert read({"models": []}, "m") is None
