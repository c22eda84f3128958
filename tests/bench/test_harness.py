"""The harness as a whole on real programs, in small; and what every run does with its outcome."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.measure import Clock, measure_streams
from bench.model import BenchError, MissingToolError, Plan, Request, Result
from bench.page_data import MODELS, entries
from bench.peers import Nginx
from bench.processes import LOAD_CORE, SUBJECT_CORE, Program, free_port
from bench.runs import Facts, Report, conduct, options_of_a_run
from bench.subject import BareUpstream, Running, Subject
from bench.turns import Contestant, in_order, measure_answers

PLAN = Plan(
    rounds=1, load_seconds=1.0, warm_up_seconds=1.0, clients=(2,), streams=5, stream_seconds=0.4, stream_events=4
)


class Broken(Subject):
    name = "broken"
    title = "Broken"

    def start(self, directory: Path, upstream_port: int) -> Running:
        directory.mkdir(parents=True)
        requests = [Request("/", {}, "{}")]
        program = Program("broken", ["sh", "-c", "echo no; exit 3"], log=directory / "log")
        return Running(program, free_port(), requests, requests)


@pytest.fixture
def two_cores() -> None:
    """The programs and cores that every load needs."""
    missing = [tool for tool in ("wrk", "nginx", "taskset", "setpriv") if shutil.which(tool) is None]
    if missing or not {SUBJECT_CORE, LOAD_CORE} <= os.sched_getaffinity(0):
        pytest.skip(f"needs two cores and {', '.join(missing) or 'nothing else'}")


@pytest.mark.usefixtures("two_cores")
def test_subjects_take_turns_and_one_that_does_not_start_is_left_out(tmp_path: Path) -> None:
    subjects: list[Subject] = [BareUpstream(), Broken(), Nginx()]
    bare, broken, nginx = (Result(subject.name, subject.title) for subject in subjects)
    measure_answers(list(zip(subjects, (bare, broken, nginx), strict=True)), PLAN, Clock(60), tmp_path)
    measure_streams(nginx, subjects[2], PLAN, Clock(60), tmp_path / "streams")

    for result in (bare, nginx):
        assert result.failures == []
        assert list(result.rounds) == [2]
        assert list(result.rounds[2]) == [1]
        assert all(load.requests > 0 and load.counts for load in result.rounds[2].values())
    assert (bare.loads[2].cpu_seconds, broken.rounds) == (None, {})
    assert nginx.loads[2].cpu_seconds
    assert broken.failures == ["answers: it ended at the start: no"]
    assert nginx.streams is not None
    assert (nginx.streams.completed, nginx.streams.started) == (5, 5)
    assert nginx.idle_mb
    folders = str(tmp_path).encode()
    assert not [file for file in Path("/proc").glob("[0-9]*/cmdline") if folders in file.read_bytes()]


def test_every_other_round_is_in_reverse(tmp_path: Path) -> None:
    running = Running(None, 1, [], [])
    three = [Contestant(running, Result(name, name), tmp_path) for name in ("a", "b", "c")]
    names = [[one.result.name for one in in_order(three, number)] for number in (1, 2, 3)]
    assert names == [["a", "b", "c"], ["c", "b", "a"], ["a", "b", "c"]]


def test_the_pages_models_are_what_the_gateway_keeps() -> None:
    made = entries()
    assert len({entry["id"] for entry in made}) == len(made) == MODELS
    assert all(len(entry["endpoints"]) == 3 for entry in made)
    assert all(entry["pricing"] and entry["supported_parameters"] and entry["context_length"] for entry in made)


class TestConduct:
    @pytest.fixture(autouse=True)
    def _signals(self) -> Iterator[None]:
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        yield
        for number, handler in handlers.items():
            signal.signal(number, handler)

    @staticmethod
    def options(folder: Path, *others: str) -> argparse.Namespace:
        return options_of_a_run("bench.test", "A run.").parse_args(["--results", str(folder), *others])

    @staticmethod
    def report(*, is_met: bool = True, summary: str = "") -> Report:
        return Report("kind", "# The text", {"figure": 1}, is_full=True, is_met=is_met, summary=summary)

    def test_the_outcome_is_kept_and_shown(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        seen: list[Facts] = []

        def work(facts: Facts) -> Report:
            seen.append(facts)
            return self.report()

        assert conduct(self.options(tmp_path), work) == 0
        file = tmp_path / f"kind-{seen[0].stamp}.md"
        assert file.read_text(encoding="utf-8") == "# The text\n"
        assert json.loads(file.with_suffix(".json").read_text(encoding="utf-8")) == {"figure": 1}
        shown = capsys.readouterr()
        assert (shown.out, shown.err) == ("# The text\n", f"results: {file}\n")

    def test_a_summary_is_shown_in_its_place(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert conduct(self.options(tmp_path), lambda _: self.report(summary="in short")) == 0
        assert capsys.readouterr().out == "in short\n"

    def test_a_bar_that_is_not_met_counts_if_asked_for(self, tmp_path: Path) -> None:
        assert conduct(self.options(tmp_path), lambda _: self.report(is_met=False)) == 0
        assert conduct(self.options(tmp_path, "--check"), lambda _: self.report(is_met=False)) == 1
        assert conduct(self.options(tmp_path, "--check"), lambda _: self.report()) == 0

    @pytest.mark.parametrize(
        ("failure", "status", "words"),
        [
            (BenchError("a step failed"), 1, "bench: a step failed\n"),
            (MissingToolError("no wrk"), 2, "bench: no wrk\n"),
        ],
    )
    def test_a_failure_is_a_line_and_a_status(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], failure: BenchError, status: int, words: str
    ) -> None:
        def work(_: Facts) -> Report:
            raise failure

        assert conduct(self.options(tmp_path), work) == status
        assert capsys.readouterr().err == words
        assert list(tmp_path.iterdir()) == []

    def test_an_interruption_unwinds_once(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        ended = []

        def work(_: Facts) -> Report:
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                signal.raise_signal(signal.SIGINT)  # somebody is impatient
                ended.append("everything")
            return self.report()

        assert conduct(self.options(tmp_path), work) == 130
        assert ended == ["everything"]
        assert capsys.readouterr().err == "bench: interrupted; everything it started was ended\n"
