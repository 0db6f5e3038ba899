"""What requests used, over gateways that come and go, and the ledger's files."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from ray import cloudpickle
from ray.experimental import internal_kv

from cluster.admission.ledger import parse_line
from cluster.admission.usage import Usage
from serve_app import usage_book
from serve_app.served_request import ServedRequest
from serve_app.usage_book import UsageBook, kept, summed
from serve_app.usage_ledger import UsageLedger
from serve_app.usage_route import usage_of_all
from tests.serve_app.gcs import Gcs
from tests.serve_app.test_peers import Handle
from tests.waiting import eventually

BIG = 1_000_000


@pytest.fixture(autouse=True)
def gcs(monkeypatch) -> Gcs:
    gcs = Gcs()
    monkeypatch.setattr(internal_kv, "global_gcs_client", gcs)
    return gcs


def served(
    tenant: str = "a", outcome: str = "served", tokens: int = 5, id: str = "r"
) -> ServedRequest:
    return ServedRequest(
        request_id=id,
        tenant=tenant,
        model="demo",
        outcome=outcome,
        usage=Usage(
            requests=1, prompt_tokens=9, cached_tokens=4, output_tokens=tokens, engine_s=0.5,
            attempts=2,
        ),
        waited_s=0.25,
        at_unix_s=1.7e9,
    )  # fmt: skip


def book(gateway: str, *requests: ServedRequest) -> UsageBook:
    made = UsageBook(gateway, "app", None)
    for each in requests:
        made.told(each)
    return made


def test_a_gateway_counts_each_request_once() -> None:
    counted = book("one", served(), served("b"), served(tokens=7)).counted()
    by_tenant = {tenant: usage for tenant, model, usage in counted.rows if model == "demo"}
    assert (by_tenant["a"].requests, by_tenant["a"].output_tokens) == (2, 12)
    assert by_tenant["b"].requests == 1
    assert cloudpickle.loads(cloudpickle.dumps(counted)) == counted


def test_the_sum_has_gateways_that_are_gone_and_no_gateway_twice() -> None:
    one, gone = book("one", served()), book("gone", served(tokens=100))
    asyncio.run(one.keep_now())
    asyncio.run(gone.close())
    one.told(served(tokens=7))
    sums = summed([one.counted()], kept("app"))
    assert sums["a", "demo"].requests == 3
    assert sums["a", "demo"].output_tokens == 5 + 7 + 100
    assert kept("another app") == []


def test_counts_are_kept_only_where_they_changed(gcs: Gcs) -> None:
    one = book("one")
    asyncio.run(one.keep_now())
    assert not gcs.kept
    one.told(served())
    asyncio.run(one.keep_now())
    assert len(gcs.kept) == 1
    gcs.kept.clear()
    asyncio.run(one.keep_now())
    assert not gcs.kept


def test_counts_that_could_not_be_kept_are_kept_later(
    monkeypatch: pytest.MonkeyPatch, gcs: Gcs
) -> None:
    one = book("one", served())
    monkeypatch.setattr(internal_kv, "global_gcs_client", None)
    asyncio.run(one.keep_now())
    monkeypatch.setattr(internal_kv, "global_gcs_client", gcs)
    asyncio.run(one.keep_now())
    assert len(kept("app")) == 1


def test_counts_are_kept_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_book, "KEEP_EVERY_S", 0.001)

    async def work() -> None:
        one = book("one", served())
        keeping = asyncio.ensure_future(one.keep())
        await eventually(lambda: kept("app"))
        one.told(served())
        await eventually(lambda: kept("app")[0].rows[0][2].requests == 2)
        keeping.cancel()

    asyncio.run(work())


def test_all_gateways_are_asked_and_who_is_missing_is_counted() -> None:
    asyncio.run(book("gone", served()).close())
    handle = Handle(book("one", served()).counted(), RuntimeError("dying"))
    sums, missing = asyncio.run(usage_of_all(lambda: handle, "app")())
    assert handle.called == [("usage",)]
    assert (sums["a", "demo"].requests, missing) == (2, 1)


def test_without_any_answer_what_was_kept_is_the_answer() -> None:
    asyncio.run(book("one", served()).close())
    sums, missing = asyncio.run(usage_of_all(lambda: Handle(TimeoutError), "app")())
    assert (sums["a", "demo"].requests, missing) == (1, 1)


def test_without_the_store_the_gateways_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(internal_kv, "global_gcs_client", None)
    handle = Handle(book("one", served()).counted())
    sums, missing = asyncio.run(usage_of_all(lambda: handle, "app")())
    assert (sums["a", "demo"].requests, missing) == (1, 0)


def test_the_ledger_has_a_line_for_each_request(tmp_path: Path) -> None:
    ledger = UsageLedger(tmp_path / "new" / "folder", "gw1", max_bytes=BIG, files=3)
    made = UsageBook("gw1", "app", ledger)
    for number, outcome in enumerate(("served", "cancelled", "failed")):
        made.told(served(outcome=outcome, id=f"100 %s {number}"))
    asyncio.run(made.close())
    assert ledger.path == tmp_path / "new" / "folder" / "usage-gw1.jsonl"
    records = [parse_line(line) for line in ledger.path.read_text().splitlines()]
    assert [each.outcome for each in records] == ["answered", "cancelled", "failed"]
    assert [each.id for each in records] == ["100 %s 0", "100 %s 1", "100 %s 2"]
    first = served()
    assert (records[0].usage, records[0].waited_s, records[0].at) == (first.usage, 0.25, 1.7e9)


def test_a_full_file_is_put_aside_and_only_so_many_are_kept(tmp_path: Path) -> None:
    ledger = UsageLedger(tmp_path, "gw", max_bytes=1000, files=2)
    for number in range(40):
        ledger.write(served(id=str(number)))
    ledger.close()
    files = [ledger.path.with_name(ledger.path.name + end) for end in (".2", ".1", "")]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    ids = [int(parse_line(line).id) for file in files for line in file.read_text().splitlines()]
    assert ids == list(range(ids[0], 40))
    assert all(file.stat().st_size <= 1000 for file in files)


def test_a_ledger_goes_on_in_the_file_that_is_there(tmp_path: Path) -> None:
    for id in ("first", "second"):
        ledger = UsageLedger(tmp_path, "gw", max_bytes=BIG, files=1)
        ledger.write(served(id=id))
        ledger.close()
    ids = [parse_line(line).id for line in ledger.path.read_text().splitlines()]
    assert ids == ["first", "second"]


def test_lines_that_cannot_be_written_are_said_now_and_then(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = UsageLedger(tmp_path, "gw", max_bytes=BIG, files=1)
    monkeypatch.setattr(ledger._file, "shouldRollover", lambda record: 1 / 0)
    for _ in range(12):
        ledger.write(served())
    ledger.close()
    said = [record.getMessage() for record in caplog.records]
    assert said == [f"{n} lines of the usage ledger are lost" for n in (1, 10)]
