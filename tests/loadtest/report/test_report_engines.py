"""Engines, from the samples that a server's metrics brought."""

from loadtest.report.engines import (
    RUNNING,
    balance,
    by_engine,
    changes_only,
    engine_counts,
    engines,
    hits,
)
from loadtest.run_folder import ServerSample


def vllm(name: str, engine: str, model: str = "demo") -> str:
    return f'vllm:{name}{{engine="{engine}",model_name="{model}"}}'


def running(at_s: float, **counts: float) -> ServerSample:
    return ServerSample(at_s, {vllm("num_requests_running", e[1:]): n for e, n in counts.items()})


def counters(at_s: float, queries: float, cached: float) -> ServerSample:
    return ServerSample(
        at_s,
        {
            vllm("prefix_cache_queries_total", "0"): queries,
            vllm("prefix_cache_hits_total", "0"): cached,
            vllm("generation_tokens_total", "0"): queries / 10,
        },
    )


def test_an_engine_counts_while_it_reports() -> None:
    samples = [
        running(0, e0=1, e1=2),
        running(1, e1=2),
        ServerSample(2, {}),
        running(3, e0=0, e1=1),
    ]
    assert engine_counts(samples) == [(0, 2), (1, 1), (3, 2)]
    first, second = engines(samples)
    assert (first.name, first.mean_running, second.mean_running) == ("0", 0.5, 5 / 3)


def test_a_server_that_counts_its_engines_is_believed() -> None:
    said = {
        'tokenfleet:engines{model_name="a",state="ready"}': 2.0,
        'tokenfleet:engines{model_name="b",state="ready"}': 1.0,
        'tokenfleet:engines{model_name="a",state="starting"}': 4.0,
        vllm("num_requests_running", "0"): 5.0,
    }
    assert engine_counts([ServerSample(0, said)]) == [(0, 3.0)]


def test_engines_that_tokenfleet_names_are_told_apart_by_its_names() -> None:
    key = 'tokenfleet:engine_running{model_name="a",engine="x7"}'
    samples = [ServerSample(0, {key: 3.0, vllm("num_requests_running", "0"): 9.0})]
    assert by_engine(samples, RUNNING) == {"x7": [(0, 3.0)]}


def test_engines_of_two_models_have_both_names() -> None:
    names = [vllm("num_requests_running", "0", model) for model in ("b", "a")]
    series = by_engine([ServerSample(0, dict.fromkeys(names, 1.0))], RUNNING)
    assert list(series) == ["a 0", "b 0"]


def test_engines_are_in_the_order_of_their_numbers() -> None:
    sample = running(0, **{f"e{number}": 1.0 for number in range(12)})
    assert [engine.name for engine in engines([sample])] == [str(n) for n in range(12)]


def test_counters_count_on_over_a_restart() -> None:
    samples = [counters(0, 1000, 100), counters(1, 1200, 200), counters(2, 300, 30)]
    (engine,) = engines(samples)
    assert engine.output_tokens == 20 + 30
    assert engine.prefix_hit_frac == (100 + 30) / (200 + 300)


def test_a_server_without_engines_has_no_chart() -> None:
    for samples in ([], [ServerSample(0, {"tokenfleet:flights_moved": 1.0})]):
        assert engine_counts(samples) == engines(samples) == balance(samples) == hits(samples) == []


def test_hits_are_of_all_engines_in_a_stretch() -> None:
    (chart,) = hits([counters(0, 0, 0), counters(1, 100, 50), counters(2, 200, 50)])
    assert [value for value in chart.data[0]["y"] if value is not None] == [25.0]


def test_hits_of_each_engine_show_which_of_several_is_cold() -> None:
    def both(at_s: float, **counts: float) -> ServerSample:
        names = {"q": "prefix_cache_queries_total", "h": "prefix_cache_hits_total"}
        return ServerSample(at_s, {vllm(names[k[0]], k[1:]): n for k, n in counts.items()})

    warm = [both(at_s, q0=100 * at_s, h0=90 * at_s) for at_s in (0, 1)]
    cold = [both(at_s, q0=100 * at_s, h0=90 * at_s, q1=100 * at_s, h1=0) for at_s in (2, 3, 4)]
    whole, by_each = hits([*warm, *cold])
    assert whole.data[0]["y"][-1] == 54, "270 of 500: looks at 2 to 4 s are in one stretch"
    trace = by_each.data[0]
    assert trace["y"] == ["engine 0", "engine 1"]
    hot, new = ([value for value in row if value is not None] for row in trace["z"])
    assert (set(hot), set(new)) == ({90.0}, {0.0})
    assert None in trace["z"][1], "before it was there"
    assert (trace["zmin"], trace["zmax"]) == (0, 100)


def test_a_step_line_keeps_its_corners() -> None:
    assert changes_only([(0, 3), (1, 3), (2, 2), (3, 2), (4, 2)]) == [(0, 3), (2, 2), (4, 2)]
