"""A cell: warm-up left out, everything else counted."""

from loadtest.bench.cells import Load, run_cell
from loadtest.client import Endpoint, render_post
from loadtest.procstat import Role
from tests.loadtest.fake_server import DONE, FakeServer, delta, response, saying, serving, usage

REPLY = response(delta(content="a"), usage(1), DONE)


def request(endpoint: Endpoint, number: int) -> bytes:
    return render_post(endpoint, "/v1/chat/completions", {"number": number})


def test_warm_up_goes_first_over_the_same_connections_and_is_not_a_sample() -> None:
    server = FakeServer(saying(*REPLY))
    with serving(server) as endpoint:
        warm_up = [request(endpoint, n) for n in (1, 2)]
        measured = [[request(endpoint, n) for n in numbers] for numbers in ((3, 4), (5, 6))]
        result = run_cell(endpoint, Load(warm_up, measured, timeout_s=10), server=())
    assert [sample.error for sample in result.samples] == [None] * 4
    asked = [body["number"] for body in server.requests]
    assert sorted(asked[:2]) == [1, 2]
    assert sorted(asked[2:]) == [3, 4, 5, 6]
    assert server.connections == 2


def test_the_window_holds_every_sample_and_its_cpu() -> None:
    with serving(FakeServer(saying(*REPLY))) as endpoint:
        load = Load([], [[request(endpoint, 1)]], timeout_s=10)
        result = run_cell(endpoint, load, server=())
    (sample,) = result.samples
    assert sample.tn_s is not None
    assert 0 < sample.tn_s - sample.t0_s <= result.window_s
    assert result.cpu_s.keys() == {Role.CLIENT, Role.REST}
    assert result.cpu_s[Role.CLIENT] > 0
