"""Who is not measured stands still, with all that belongs to it, and goes on afterwards, whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from bench.guard import Guard
from bench.measure import Clock
from bench.model import BenchError, Plan, Request, Result
from bench.processes import Program, pause, resume
from bench.subject import Running
from bench.turns import Contestant, play_round

ROOT = Path(__file__).resolve().parents[2]
CORE = min(os.sched_getaffinity(0))
# A program with a child in a session of its own, as a database has; both count, and both say when they are ended.
COUNTING = """\
import os, signal, sys, time
if len(sys.argv) == 2 and os.fork() == 0:
    os.setsid()
    os.execv(sys.executable, [sys.executable, sys.argv[0], sys.argv[1], "child"])
name = sys.argv[1] + ("/child" if len(sys.argv) == 3 else "/parent")
def end(*_):
    open(name + "-ended", "w").close()
    os._exit(0)
signal.signal(signal.SIGTERM, end)
with open(name + "-pid", "w") as file:
    file.write(str(os.getpid()))
while True:
    with open(name, "a") as file:
        file.write(".")
    time.sleep(0.01)
"""


def wait_for(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not (met := true()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return met


def counted(folder: Path) -> list[int]:
    return [(folder / name).stat().st_size for name in ("parent", "child")]


def is_counting(folder: Path) -> bool:
    """Whether both go on; waits for it, since it may take a moment."""
    before = counted(folder)
    return wait_for(lambda: all(new > old for new, old in zip(counted(folder), before, strict=True)))


def stands_still(folder: Path) -> bool:
    before = counted(folder)
    time.sleep(0.15)
    return counted(folder) == before


def both_have(folder: Path, what: str) -> bool:
    return all((folder / f"{name}-{what}").exists() for name in ("parent", "child"))


def counting_command(folder: Path) -> list[str]:
    folder.mkdir(exist_ok=True)
    script = folder / "counting.py"
    script.write_text(COUNTING, encoding="utf-8")
    return [sys.executable, str(script), str(folder)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "counting"


@pytest.fixture
def program(folder: Path) -> Iterator[Program]:
    with Program("counting", counting_command(folder), log=folder / "log", core=CORE) as started:
        assert wait_for(lambda: both_have(folder, "pid"))
        yield started


class TestStandingStill:
    def test_all_processes_stop_and_go_on(self, program: Program, folder: Path) -> None:
        assert is_counting(folder)
        for _ in range(2):
            pause([program.pid])
            assert program.running
            assert stands_still(folder)
            resume([program.pid])
            assert is_counting(folder)

    def test_a_program_that_stands_still_is_ended_politely(self, program: Program, folder: Path) -> None:
        pause([program.pid])
        program.stop()
        assert not program.running
        assert wait_for(lambda: both_have(folder, "ended"))

    def test_its_last_words_are_plain(self, program: Program) -> None:
        program.log.write_text("one\n\n  \x1b[1;31mtwo\x1b[0m\nthree\n", encoding="utf-8")
        assert program.last_words() == "one | two | three"

    def test_a_program_that_ended_is_no_obstacle(self, program: Program) -> None:
        program.stop()
        pause([program.pid])
        resume([program.pid])

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
    def test_it_does_not_outlive_a_harness_that_was_killed(self, folder: Path, number: signal.Signals) -> None:
        harness = f"""
import time
from pathlib import Path
from bench.guard import Guard
from bench.processes import Program, pause
program = Program("counting", {counting_command(folder)!r}, log=Path({str(folder / "log")!r}), core={CORE})
while not all(Path({str(folder)!r}, name).exists() for name in ("parent-pid", "child-pid")):
    time.sleep(0.01)
with Guard() as guard:
    guard.watch([program.pid])
    pause([program.pid])
    print("paused", flush=True)
    time.sleep(60)
"""
        with subprocess.Popen([sys.executable, "-c", harness], stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "paused\n"
            assert stands_still(folder)
            process.send_signal(number)
        assert wait_for(lambda: both_have(folder, "ended"))

    def test_a_guard_that_was_left_does_nothing(self, program: Program, folder: Path) -> None:
        with Guard() as guard:
            guard.watch([program.pid])
            pause([program.pid])
        assert stands_still(folder)
        resume([program.pid])
        assert is_counting(folder)


# ---------------------------------------------------------------- turns


class Answering(BaseHTTPRequestHandler):
    """Says 200 to everything, or what the server's `status` is."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(getattr(self.server, "status", 200))
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as serving:
        thread = Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


def contestant(program: Program | None, port: int, directory: Path, *, companions: tuple[int, ...] = ()) -> Contestant:
    requests = [Request("/", {}, "{}")]
    return Contestant(Running(program, port, requests, requests, companions), Result("x", "X"), directory)


class TestTurns:
    def test_it_goes_on_for_its_turn_only(
        self, program: Program, folder: Path, server: ThreadingHTTPServer, tmp_path: Path
    ) -> None:
        one = contestant(program, server.server_address[1], tmp_path)
        pause(one.processes)
        with one.turn():
            assert is_counting(folder)
        assert stands_still(folder)

    def test_what_works_for_it_stands_still_too(
        self, program: Program, folder: Path, server: ThreadingHTTPServer, tmp_path: Path
    ) -> None:
        one = contestant(None, server.server_address[1], tmp_path, companions=(program.pid,))
        with one.turn():
            assert is_counting(folder)
        assert stands_still(folder)

    def test_a_turn_that_failed_is_over(
        self, program: Program, folder: Path, server: ThreadingHTTPServer, tmp_path: Path
    ) -> None:
        one = contestant(program, server.server_address[1], tmp_path)
        with pytest.raises(BenchError, match="no request"), one.turn():
            raise BenchError("no request of 64 clients was answered")
        assert stands_still(folder)
        server.status = 503  # type: ignore[attr-defined]  # what it answers from now on
        with pytest.raises(BenchError, match="it answers with 503 now"), one.turn():
            pytest.fail("it has no turn")
        assert stands_still(folder)
        assert not one.is_out

    def test_one_that_ended_has_no_more_turns(self, program: Program, tmp_path: Path) -> None:
        one = contestant(program, 9, tmp_path)
        with pytest.raises(BenchError, match=r"does not answer any more \(ConnectionRefusedError\)"), one.turn():
            pytest.fail("it has no turn")
        program.stop()
        one.result.rounds[1] = {}
        play_round(1, [one], Plan(), Clock(60))
        assert one.is_out
        assert one.result.failures == ["1 client, round 1: it ended and has no more turns: "]
        play_round(2, [one], Plan(), Clock(60))
        assert len(one.result.failures) == 1

    def test_without_time_there_are_no_loads(self, server: ThreadingHTTPServer, tmp_path: Path) -> None:
        one = contestant(None, server.server_address[1], tmp_path)
        play_round(3, [one], Plan(clients=(1, 16)), Clock(0.1))
        assert one.result.rounds == {}
        assert one.result.failures == [
            "1 client, round 3: not measured: the run's time is up",
            "16 clients, round 3: not measured: the run's time is up",
        ]
