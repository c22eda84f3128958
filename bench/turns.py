"""Throughput and latency: all subjects are started, and their loads take turns.

What a machine gets done changes from one minute to the next, whatever it runs. So the subjects are not measured one
after the other but in rounds of short loads, each subject beside all others within seconds. Whoever is not measured
stands still, with all its processes, and takes nothing from the one that is.
"""

from __future__ import annotations

import http.client
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.guard import Guard
from bench.measure import Clock, load_once, noted, post, started, wait_until_ready
from bench.model import BenchError, Plan, Result
from bench.processes import free_port, pause, resume
from bench.runs import say
from bench.subject import Running, Subject
from bench.upstream import start_instant

_GOOD = 200


@dataclass(slots=True)
class Contestant:
    """A subject that was started and stands still but for its turns; one that ended gets no more of them.

    `per_second` is what it got done with many clients while it warmed up: how quick it is, roughly.
    """

    running: Running
    result: Result
    directory: Path
    per_second: float = 0.0
    is_out: bool = False

    @property
    def processes(self) -> list[int]:
        """What works for it, then the program itself: the order in which they can go on."""
        program = self.running.program
        return [*self.running.companions, *([] if program is None else [program.pid])]

    def warm_up(self, clients: int, seconds: float) -> None:
        """A load that does not count, so that it does not pay for imports and compilation in the first round."""
        with noted(self.result, "warm-up"):
            self.per_second = load_once(self.running, clients, seconds, self.directory).requests_per_second

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Let it go on for a while.

        Raises:
            BenchError: it ended, does not answer well any more, or does not stand still afterwards.
        """
        resume(self.processes)
        try:
            # Its clocks have run on meanwhile: what is overdue happens now, and not under the load.
            self._answer_once()
            yield
            self._require_life()
        finally:
            pause(self.processes)

    def _answer_once(self) -> None:
        try:
            status, _ = post(self.running.port, self.running.requests[0])
        except (OSError, http.client.HTTPException) as error:
            self._require_life()
            raise BenchError(f"it does not answer any more ({type(error).__name__})") from None
        if status != _GOOD:
            raise BenchError(f"it answers with {status} now")

    def _require_life(self) -> None:
        program = self.running.program
        if program is not None and not program.running:
            self.is_out = True
            raise BenchError(f"it ended and has no more turns: {program.last_words()}")


def measure_answers(entrants: Sequence[tuple[Subject, Result]], plan: Plan, clock: Clock, directory: Path) -> None:
    """Start all subjects against one upstream, and load them in rounds."""
    port = free_port()
    with start_instant(directory / "upstream-of-all", port), Guard() as guard, ExitStack() as stack:
        contestants = []
        for subject, result in entrants:
            say(f"starting {subject.title} ...")
            with noted(result, "answers"), ExitStack() as own:
                place = directory / subject.name / "answers"
                contestant = own.enter_context(_entered(subject, result, clock, place, port))
                guard.watch(contestant.processes)
                contestant.warm_up(max(plan.clients), clock.left(plan.warm_up_seconds))
                pause(contestant.processes)
                contestants.append(contestant)
                stack.enter_context(own.pop_all())
        for number in range(1, plan.rounds + 1):
            say(f"round {number} of {plan.rounds} ...")
            play_round(number, in_order(contestants, number), plan, clock)


@contextmanager
def _entered(
    subject: Subject, result: Result, clock: Clock, directory: Path, upstream_port: int
) -> Iterator[Contestant]:
    """The subject, as soon as it answers; it goes on before it is ended."""
    with started(subject, directory / "subject", upstream_port) as running:
        headers = wait_until_ready(running, clock)
        result.receipt = {name: value for name, value in headers.items() if name.startswith("x-kilo-")}
        contestant = Contestant(running, result, directory / "wrk")
        try:
            yield contestant
        finally:
            resume(contestant.processes)


def in_order(contestants: Sequence[Contestant], number: int) -> Sequence[Contestant]:
    """Every other round is in reverse: a machine that becomes slower and slower favours nobody."""
    return contestants if number % 2 else contestants[::-1]


def play_round(number: int, contestants: Sequence[Contestant], plan: Plan, clock: Clock) -> None:
    """A load for each contestant with one client, then for each with more of them."""
    for clients in plan.clients:
        for contestant in contestants:
            if contestant.is_out:
                continue
            with noted(contestant.result, f"{clients} client{'s' * (clients > 1)}, round {number}"):
                seconds = clock.left(plan.seconds_of_load(clients, contestant.per_second))
                with contestant.turn():
                    load = load_once(contestant.running, clients, seconds, contestant.directory)
                contestant.result.rounds.setdefault(clients, {})[number] = load
