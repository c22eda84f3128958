"""What the bench makes of raw output: parsing wrk, reading chunked streams, ratios, bars, notes, and the files."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from bench.__main__ import DEFAULT_SUBJECTS, chosen, subjects
from bench.figures import (
    BARS,
    Bar,
    Run,
    measures,
    number,
    ratio,
    verdicts,
)
from bench.load import lua_text, parse_wrk, wrk_script
from bench.model import BenchError, Load, MissingToolError, Plan, Request, Result, Streams, chat_request
from bench.report import (
    as_json,
    markdown,
    notes,
    ratio_table,
    raw_table,
    spread_table,
    table,
    verdict_table,
)
from bench.streams import ChunkReader, percentile
from bench.upstream import completion, event

STREAMS = Streams(
    started=1000,
    completed=1000,
    first_byte_p50_ms=5.0,
    first_byte_p99_ms=100.0,
    event_delay_p50_ms=0.5,
    event_delay_p99_ms=20.0,
    seconds=11.0,
    cpu_seconds=2.0,
)


def load(clients: int, per_second: float, p50_ms: float, *, cpu_us: float = 300.0) -> Load:
    requests = round(per_second * 7)
    return Load(
        clients=clients,
        requests=requests,
        seconds=7.0,
        p50_ms=p50_ms,
        p99_ms=p50_ms * 4,
        cpu_seconds=requests * cpu_us / 1e6,
        subject_core_foreign=0.01,
        load_core_busy=0.5,
    )


def result(
    name: str, per_second: float, p50_ms: float, *, first_byte_ms: float = 100.0, memory: float = 200.0
) -> Result:
    return Result(
        name,
        name.title(),
        version="1.0",
        rounds={clients: {1: load(clients, per_second, p50_ms)} for clients in (1, 16, 64)},
        streams=replace(STREAMS, first_byte_p99_ms=first_byte_ms),
        idle_mb=memory / 2,
        streams_mb=memory,
    )


@pytest.fixture
def run() -> Run:
    return Run(
        "2026-01-02 03:04:05 UTC",
        Plan(),
        {"processor": "two cores"},
        [
            Result("upstream", "bare upstream", rounds={n: {1: load(n, 40_000.0, 0.1)} for n in (1, 16, 64)}),
            result("ours", 2_000.0, 1.1),
            result("litellm", 50.0, 20.1, first_byte_ms=50_000.0, memory=400.0),
            result("portkey", 500.0, 2.6, first_byte_ms=150.0),
        ],
    )


def change(run: Run, place: int, clients: int, **fields: float) -> None:
    """Another figure in the only load that this result has."""
    rounds = run.results[place].rounds[clients]
    rounds[1] = replace(rounds[1], **fields)  # type: ignore[arg-type]  # whole numbers where they belong


def measured(run: Run, key: str, peer: str) -> float | None:
    return ratio(next(measure for measure in measures(run.plan) if measure.key == key), run, peer)


class TestWrk:
    LINE = 'bench-result {"requests":7000,"microseconds":7000000,"p50":1500.0,"p99":9000.5,"statuses":3,"sockets":1}'

    def test_it_reads_our_line_among_others(self) -> None:
        found = parse_wrk(f"Running 7s test\n  Latency 1ms\n{self.LINE}\n", 16)
        assert (found.clients, found.requests, found.requests_per_second) == (16, 7000, 1000.0)
        assert (found.p50_ms, found.p99_ms) == (1.5, 9.0005)
        assert (found.error_statuses, found.socket_errors) == (3, 1)

    def test_no_line_is_a_failure(self) -> None:
        with pytest.raises(BenchError, match="no result"):
            parse_wrk("unable to connect", 16)

    def test_no_request_is_a_failure(self) -> None:
        with pytest.raises(BenchError, match="no request of 16 clients"):
            parse_wrk(self.LINE.replace("7000,", "0,", 1), 16)

    def test_the_script_sends_every_request_in_turn(self) -> None:
        script = wrk_script([Request("/a", {"X-Key": "one"}, "{}"), Request("/b", {"X-Key": "two"}, "{}")])
        assert script.count("wrk.format(") == 2
        assert '["X-Key"] = "two"' in script
        assert "{{" not in script

    def test_lua_text_cannot_be_left(self) -> None:
        assert lua_text('a"]] .. os.exit() --\n\\é') == '"a\\034]] .. os.exit() --\\010\\092\\195\\169"'


class TestStreams:
    def test_chunks_arrive_in_any_pieces(self) -> None:
        body = b"5\r\nhello\r\n10;x=y\r\n0123456789abcdef\r\n0\r\n\r\n"
        for size in range(1, len(body) + 1):
            reader = ChunkReader()
            payload = b"".join(reader.feed(body[at : at + size]) for at in range(0, len(body), size))
            assert payload == b"hello0123456789abcdef"
            assert reader.ended

    def test_a_body_that_stops_early_has_not_ended(self) -> None:
        reader = ChunkReader()
        assert reader.feed(b"5\r\nhel") == b"hel"
        assert not reader.ended

    def test_percentiles(self) -> None:
        values = [float(value) for value in range(1, 101)]
        assert (percentile(values, 0.5), percentile(values, 0.99), percentile(values, 1.0)) == (50.0, 99.0, 100.0)
        assert percentile([], 0.5) is None
        assert percentile([7.0], 0.01) == 7.0

    def test_an_event_carries_number_and_moment(self) -> None:
        chunk = json.loads(event(3, last=False, sent_ns=123).removeprefix(b"data: "))
        assert re.fullmatch(r"#3@123# ", chunk["choices"][0]["delta"]["content"])


def test_request_and_answer_have_the_agreed_size() -> None:
    request = chat_request("/v1/chat/completions", "bench-model", {})
    assert 900 <= len(request.body) <= 1200
    assert 850 <= len(completion()) <= 1050
    assert json.loads(completion())["usage"]["total_tokens"] > 0


class TestRatios:
    def test_more_is_better(self, run: Run) -> None:
        assert measured(run, "rps_64", "litellm") == pytest.approx(40.0)

    def test_added_latency_is_beyond_the_upstream(self, run: Run) -> None:
        assert measured(run, "added_p50", "litellm") == pytest.approx(1.0 / 20.0)

    def test_figures_with_errors_do_not_count(self, run: Run) -> None:
        change(run, 2, 64, error_statuses=50)
        assert measured(run, "rps_64", "litellm") is None
        assert measured(run, "rps_16", "litellm") is not None

    def test_what_was_not_measured_has_no_ratio(self, run: Run) -> None:
        run.results[3].streams = None
        assert measured(run, "first_byte_p99", "portkey") is None
        assert measured(run, "rps_64", "nginx") is None

    def test_latency_below_the_upstream_has_no_ratio(self, run: Run) -> None:
        change(run, 2, 1, p50_ms=0.05)
        assert measured(run, "added_p50", "litellm") is None

    @pytest.mark.parametrize(
        ("value", "text"),
        [(40.0, "40"), (2.345, "2.3"), (0.0512, "0.051"), (12345.6, "12,346"), (0.0, "0"), (1 / 15, "0.067")],
    )
    def test_two_digits(self, value: float, text: str) -> None:
        assert number(value) == text


class TestBars:
    def test_each_bar_is_judged(self, run: Run) -> None:
        assert [verdict.met for verdict in verdicts(run)] == [True, True, True, True, False, True, True]

    def test_the_text_names_the_limit(self) -> None:
        assert BARS[0].text == "at least 20 x litellm"
        assert Bar("rps_64", "other", 0.85, 1.18).text == "at least 0.85 x and at most 1.2 x other"

    def test_lost_streams_are_not_met(self, run: Run) -> None:
        run.results[1].streams = replace(STREAMS, completed=999)
        assert verdicts(run)[-1].met is False
        assert verdicts(run)[-1].measured == "999 of 1000"

    def test_a_failed_peer_leaves_its_bars_open(self, run: Run) -> None:
        run.results[2].rounds.clear()
        first = verdicts(run)[0]
        assert (first.measured, first.met) == ("not measured", None)

    def test_bars_of_subjects_outside_the_run_are_left_out(self, run: Run) -> None:
        alone = Run(run.started_at, run.plan, run.machine, run.results[:2])
        assert [verdict.requirement for verdict in verdicts(alone)] == ["all complete"]


class TestNotes:
    def test_a_quiet_run_has_none(self, run: Run) -> None:
        assert notes(run) == []

    def test_failures_and_lost_streams_are_named(self, run: Run) -> None:
        run.results[2].failures.append("prepare: npm ended with status 1")
        run.results[3].streams = replace(STREAMS, completed=990, failures={"status 500": 10})
        assert notes(run) == ["Litellm: prepare: npm ended with status 1", "Portkey, streams: 10 status 500"]

    def test_errors_and_disturbance_are_named(self, run: Run) -> None:
        change(run, 1, 1, error_statuses=14_000, subject_core_foreign=0.4, load_core_busy=0.99)
        errors, foreign, busy = notes(run)
        assert errors == "Ours, 1 client: 14,000 of 14,000 answers were errors: its figures do not count"
        assert "others used 40%" in foreign
        assert "load core was 99% busy" in busy

    def test_with_priority_others_only_took_what_was_left(self, run: Run) -> None:
        change(run, 1, 1, subject_core_foreign=0.4, load_core_busy=0.99)
        assert notes(replace(run, plan=replace(run.plan, priority=True))) == []

    def test_too_little_headroom_is_named(self, run: Run) -> None:
        run.results[0].rounds[64] = {1: load(64, 10_000.0, 0.1)}
        assert notes(run) == ["Ours: the bare upstream is only 5.0 times as quick; the load side may be the limit"]


class TestFiles:
    def test_tables_line_up(self) -> None:
        lines = table(["a", "long header"], [["first", "1"], ["b", "22"]]).splitlines()
        assert len({len(line) for line in lines}) == 1
        assert lines[2] == "| first |           1 |"

    def test_the_table_of_ratios_has_one_column_for_each_peer(self, run: Run) -> None:
        text = ratio_table(run)
        assert text.splitlines()[0].count("|") == 4
        assert "| requests/s, 64 clients (more is better)" in text
        assert "40 x" in text

    def test_markdown_says_what_was_measured(self, run: Run) -> None:
        run.results[1].receipt["x-kilo-route"] = "exact:code"
        text = markdown(run)
        assert text.startswith("# Benchmark run 2026-01-02 03:04:05 UTC\n")
        for part in (ratio_table(run), raw_table(run), verdict_table(run), "x-kilo-route exact:code", "two cores"):
            assert part in text
        assert "quick" in markdown(replace(run, plan=replace(run.plan, quick=True))).splitlines()[0]

    def test_the_spread_has_a_row_for_whatever_is_measured_in_rounds(self, run: Run) -> None:
        run.results[1].rounds[64][2] = load(64, 1_000.0, 1.1)
        run.results[2].rounds[64][2] = load(64, 50.0, 20.1)
        lines = spread_table(run).splitlines()
        assert len(lines) == 2 + 3 + 3
        assert re.search(r"requests/s, 64 clients +\| +20 to 40 x \| +4\.0 to 4\.0 x", spread_table(run))
        assert spread_table(run) in markdown(run)

    def test_without_ours_there_are_no_ratios(self, run: Run) -> None:
        peers_only = replace(run, results=[each for each in run.results if each.name != "ours"])
        assert "ours divided by" not in markdown(peers_only)
        assert as_json(peers_only)["ratios"] == {}

    def test_without_peers_there_is_no_table_without_columns(self, run: Run) -> None:
        assert "ours divided by" not in markdown(replace(run, results=run.results[:2]))

    def test_json_holds_everything(self, run: Run) -> None:
        kept = json.loads(json.dumps(as_json(run)))
        assert kept["ratios"]["litellm"]["rps_64"] == pytest.approx(40.0)
        assert [each["name"] for each in kept["results"]] == ["upstream", "ours", "litellm", "portkey"]
        assert kept["bars"][0]["met"] is True
        assert kept["round_ratios"]["litellm"]["rps_64"] == [pytest.approx(40.0)]
        ours = kept["results"][1]
        assert ours["rounds"]["64"]["1"]["requests"] == ours["loads"]["64"]["requests"] == 14_000


class TestChoice:
    def test_the_default_is_ours_and_the_peers(self) -> None:
        assert tuple(subject.name for subject in chosen(None, subjects())) == DEFAULT_SUBJECTS

    def test_only_keeps_the_order_given(self) -> None:
        assert [subject.name for subject in chosen("portkey, ours", subjects())] == ["portkey", "ours"]

    def test_an_unknown_name_says_which_there_are(self) -> None:
        with pytest.raises(MissingToolError, match=r"no such subject: kong\. There are: ours, ours-64"):
            chosen("kong", subjects())
