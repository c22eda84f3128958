"""Loads that take turns: what several rounds come to together, and ratios that a machine's moods do not move."""

from __future__ import annotations

import json
import math

import pytest

from bench.figures import Run, measures, ratio, round_ratios
from bench.model import Load, Plan, Result, together
from bench.report import as_json

# How quick the machine was in each round.
MOODS = (1.0, 0.6, 0.8, 1.5)


def load(requests: int, *, seconds: float = 2.0, p50_ms: float = 1.0, clients: int = 64) -> Load:
    return Load(clients, requests, seconds, p50_ms, p50_ms * 10, cpu_seconds=1.0)


def rounds(*loads: Load) -> dict[int, Load]:
    return dict(enumerate(loads, 1))


def run_of(ours: dict[int, dict[int, Load]], peer: dict[int, dict[int, Load]], **others: dict[int, Load]) -> Run:
    bare = Result("upstream", "bare upstream", rounds={1: others.get("upstream", {})})
    results = [bare, Result("ours", "Ours", rounds=ours), Result("portkey", "Portkey", rounds=peer)]
    return Run("2026-01-02 03:04:05 UTC", Plan(), {}, results)


def of(run: Run, key: str) -> tuple[float | None, list[float]]:
    row = next(row for row in measures(run.plan) if row.key == key)
    return ratio(row, run, "portkey"), round_ratios(row, run, "portkey")


def figure(run: Run, key: str) -> float | None:
    row = next(row for row in measures(run.plan) if row.key == key)
    return row.read(run.results[1], run.results[0])


class TestTogether:
    def test_what_can_be_counted_is_summed(self) -> None:
        found = together(
            [
                Load(64, 100, 2.0, 1.0, 9.0, error_statuses=1, socket_errors=2, cpu_seconds=0.5),
                Load(64, 500, 3.0, 2.0, 5.0, error_statuses=4, socket_errors=0, cpu_seconds=1.0),
                Load(64, 300, 1.0, 6.0, 7.0, error_statuses=0, socket_errors=1, cpu_seconds=0.3),
            ]
        )
        assert (found.clients, found.requests, found.seconds, found.requests_per_second) == (64, 900, 6.0, 150.0)
        assert (found.error_statuses, found.socket_errors) == (5, 3)
        assert found.cpu_us_per_request == pytest.approx(2000.0)

    def test_of_percentiles_it_is_the_median(self) -> None:
        found = together([load(1, p50_ms=1.0), load(1, p50_ms=50.0), load(1, p50_ms=2.0), load(1, p50_ms=3.0)])
        assert (found.p50_ms, found.p99_ms) == (2.5, 25.0)

    def test_shares_of_a_core_weigh_by_time(self) -> None:
        long = Load(1, 1, 3.0, 1.0, 1.0, subject_core_foreign=0.1, load_core_busy=0.4)
        short = Load(1, 1, 1.0, 1.0, 1.0, subject_core_foreign=0.5, load_core_busy=0.8)
        found = together([long, short])
        assert found.subject_core_foreign == pytest.approx(0.2)
        assert found.load_core_busy == pytest.approx(0.5)

    def test_what_one_round_does_not_know_nobody_knows(self) -> None:
        found = together([load(1), Load(64, 1, 2.0, 1.0, 1.0)])
        assert (found.cpu_seconds, found.subject_core_foreign, found.load_core_busy) == (None, None, None)

    def test_a_result_has_its_loads_by_clients(self) -> None:
        result = Result("ours", "Ours", rounds={1: rounds(load(5, clients=1)), 64: rounds(load(7), load(9))})
        assert {clients: one.requests for clients, one in result.loads.items()} == {1: 5, 64: 16}


class TestSeconds:
    """A load is long enough for what is under way at its end to be a small part of it."""

    @pytest.mark.parametrize(
        ("clients", "per_second", "seconds"),
        [(1, 50.0, 2.0), (16, 100.0, 2.0), (64, 5000.0, 2.0), (64, 128.0, 5.0), (64, 50.0, 7.0), (64, 0.0, 7.0)],
    )
    def test_ten_answers_for_each_client(self, clients: int, per_second: float, seconds: float) -> None:
        plan = Plan(load_seconds=2.0, longest_load_seconds=7.0)
        assert plan.seconds_of_load(clients, per_second) == seconds


class TestRatios:
    def test_a_machine_that_is_slow_for_a_while_is_so_for_both(self) -> None:
        ours = rounds(*(load(round(3000 * mood)) for mood in MOODS))
        theirs = rounds(*(load(round(1000 * mood)) for mood in MOODS))
        assert of(run_of({64: ours}, {64: theirs}), "rps_64") == (pytest.approx(3.0), [pytest.approx(3.0)] * 4)

    def test_one_bad_moment_of_one_side_does_not_count(self) -> None:
        ours = rounds(load(3000), load(300), load(3000))
        theirs = rounds(load(1000), load(1000), load(1000))
        assert of(run_of({64: ours}, {64: theirs}), "rps_64") == (pytest.approx(3.0), [3.0, 0.3, 3.0])

    def test_only_rounds_of_both_sides_count(self) -> None:
        ours, theirs = {1: load(9000), 2: load(3000), 4: load(3000)}, {2: load(1000), 3: load(1), 4: load(1000)}
        assert of(run_of({64: ours}, {64: theirs}), "rps_64") == (pytest.approx(3.0), [3.0, 3.0])
        assert of(run_of({64: {1: load(1)}}, {64: {2: load(1)}}), "rps_64") == (None, [])

    def test_errors_of_one_round_spoil_the_load(self) -> None:
        bad = Load(64, 9000, 2.0, 1.0, 1.0, error_statuses=9000)
        run = run_of({64: rounds(load(3000), bad)}, {64: rounds(load(1000), load(1000))})
        assert of(run, "rps_64") == (None, [])
        assert figure(run, "rps_64") is None


class TestMedianAdded:
    """Differences to the bare upstream of the same round."""

    @staticmethod
    def run(ours: list[float], theirs: list[float], bare: list[float]) -> Run:
        def at_one(values: list[float]) -> dict[int, Load]:
            return rounds(*(load(1000, p50_ms=value, clients=1) for value in values))

        return run_of({1: at_one(ours)}, {1: at_one(theirs)}, upstream=at_one(bare))

    def test_it_is_the_median_of_the_differences(self) -> None:
        # The difference of the medians would be 4.0 - 1.0.
        run = self.run([2.0, 4.0, 9.0], [5.0, 5.0, 5.0], [1.0, 0.5, 8.0])
        assert figure(run, "added_p50") == pytest.approx(1.0)

    def test_the_ratio_is_that_of_each_round(self) -> None:
        bare = [0.1 / mood for mood in MOODS]
        run = self.run([0.6 / mood for mood in MOODS], [1.1 / mood for mood in MOODS], bare)
        assert of(run, "added_p50")[0] == pytest.approx(0.5)

    def test_what_is_below_the_upstream_is_less_than_anything(self) -> None:
        run = self.run([2.0, 2.0, 2.0], [0.9, 3.0, 5.0], [1.0, 1.0, 1.0])
        assert of(run, "added_p50") == (pytest.approx(0.5), [math.inf, 0.5, 0.25])
        kept = json.loads(json.dumps(as_json(run), allow_nan=False))
        assert kept["round_ratios"]["portkey"]["added_p50"] == [None, 0.5, 0.25]

    @pytest.mark.parametrize(
        ("ours", "theirs"),
        [([2.0, 2.0, 2.0], [0.9, 0.9, 5.0]), ([0.9, 0.9, 2.0], [3.0, 3.0, 3.0]), ([0.9] * 3, [0.8] * 3)],
    )
    def test_there_is_none_if_it_is_so_in_most_rounds(self, ours: list[float], theirs: list[float]) -> None:
        assert of(self.run(ours, theirs, [1.0, 1.0, 1.0]), "added_p50")[0] is None

    def test_a_round_without_the_upstream_has_no_difference(self) -> None:
        run = self.run([2.0, 3.0], [2.0, 3.0], [1.0])
        assert of(run, "added_p50") == (1.0, [1.0])
        assert figure(run, "added_p50") == 1.0
