"""Starting programs on a chosen core, knowing what they cost, and ending them whatever happens.

Every program gets a session of its own, so that Ctrl-C reaches only this process, which then ends them all; the kernel
ends them if this process is killed. Costs are read from `/proc` for the program and all its descendants.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from bench.model import LOCAL_HOST, BenchError, MissingToolError

SUBJECT_CORE = 0
LOAD_CORE = 1
_TICKS = os.sysconf("SC_CLK_TCK")
_STOP_SECONDS = 8.0
_PAUSE_SECONDS = 2.0
_NICE = -15
# As programs write them for terminals.
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# The state of a process that was stopped, in the process table.
_STOPPED = "T"


def pin_to_load_core() -> None:
    """Keep this process, and what it starts from now on, off the subject's core."""
    if not {SUBJECT_CORE, LOAD_CORE} <= os.sched_getaffinity(0):
        raise MissingToolError("the bench needs two processor cores: one for what is measured, one for the load.")
    os.sched_setaffinity(0, {LOAD_CORE})


class Priority:
    """Whether what is started goes before other programs of the machine."""

    raised: ClassVar[bool] = False

    @classmethod
    def take(cls) -> None:
        """Raise this process and everything that it starts from now on.

        Raises:
            MissingToolError: this user may not.
        """
        try:
            os.setpriority(os.PRIO_PROCESS, 0, _NICE)
        except PermissionError:
            raise MissingToolError("--priority needs root (or the right to lower the nice value).") from None
        cls.raised = True

    @classmethod
    def give(cls, pid: int) -> None:
        """Raise the session that a new process leads: Linux shares a core between sessions first, then within them."""
        if cls.raised:
            with suppress(OSError):  # a kernel without session groups needs no more than the nice value
                Path(f"/proc/{pid}/autogroup").write_text(str(_NICE), encoding="utf-8")

    @classmethod
    def give_all(cls, root: int) -> None:
        """Raise a program that was not started here, with its descendants, which may lead sessions of their own."""
        if cls.raised:
            for entry in _tree(root):
                cls.give(entry.pid)


def free_port() -> int:
    """A port of the loopback interface that nothing listens on right now."""
    with socket.socket() as listener:
        listener.bind((LOCAL_HOST, 0))
        return int(listener.getsockname()[1])


def bare_environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment without this person's settings and secrets, for programs of others."""
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "LANG": "C.UTF-8", **(extra or {})}


class Program:
    """A started program with all its descendants."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        core: int = LOAD_CORE,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        keep_input_open: bool = False,
    ) -> None:
        self.name = name
        self.log = log
        pinned = ["taskset", "--cpu-list", str(core), "setpriv", "--pdeathsig", "TERM", "--", *command]
        with log.open("ab") as output:
            # Not a context manager: the program outlives this call and `stop` ends it.
            self._process = subprocess.Popen(
                pinned,
                stdin=subprocess.PIPE if keep_input_open else subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=None if environment is None else dict(environment),
                cwd=directory,
                start_new_session=True,
            )
        Priority.give(self._process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def cpu_seconds(self) -> float:
        """Processor time used so far by the processes that are alive."""
        return sum(entry.cpu_seconds for entry in _tree(self._process.pid))

    def memory_mb(self) -> float:
        """Proportional memory of all processes: pages that several of them share count once."""
        return sum(_proportional_kib(entry.pid) for entry in _tree(self._process.pid)) / 1024

    def last_words(self) -> str:
        """The end of the program's log, on one line, for a report."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        words = " | ".join(line.strip() for line in lines[-4:] if line.strip())
        return _COLOURS.sub("", words)[-300:]

    def stop(self) -> None:
        """End the program and its descendants: politely, then surely. One that stands still goes on first."""
        resume([self.pid])
        if self._process.stdin is not None:
            self._process.stdin.close()  # a program that reads its input until the end now stops by itself
            if self._gone():
                return
        for number in (signal.SIGTERM, signal.SIGKILL):
            send([entry.pid for entry in _tree(self.pid)], number)
            if self._gone():
                return

    def _gone(self) -> bool:
        """Wait a while for the end of all processes."""
        deadline = time.monotonic() + _STOP_SECONDS
        while time.monotonic() < deadline:
            if not _tree(self._process.pid) and self._process.poll() is not None:
                return True
            time.sleep(0.05)
        return False


class _Entry:
    """One line of the process table."""

    __slots__ = ("cpu_seconds", "parent", "pid", "session", "state")

    def __init__(self, pid: int, stat: str) -> None:
        fields = stat.rpartition(")")[2].split()
        self.pid = pid
        self.state = fields[0]
        self.parent = int(fields[1])
        self.session = int(fields[3])
        self.cpu_seconds = (int(fields[11]) + int(fields[12])) / _TICKS


def _tree(root: int) -> list[_Entry]:
    """The processes of the session that `root` leads, and their descendants in sessions of their own."""
    entries: list[_Entry] = []
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            try:
                entries.append(_Entry(int(directory.name), (directory / "stat").read_text(encoding="utf-8")))
            except (OSError, IndexError, ValueError):
                continue  # ended between the listing and the reading
    members = {entry.pid for entry in entries if root in (entry.pid, entry.session)}
    grown = True
    while grown:
        found = {entry.pid for entry in entries if entry.parent in members} - members
        members |= found
        grown = bool(found)
    return [entry for entry in entries if entry.pid in members and entry.state != "Z"]


def _proportional_kib(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return 0


def pause(roots: Sequence[int]) -> None:
    """Stop programs with all their descendants, until `resume`.

    Raises:
        BenchError: they do not stand still.
    """
    deadline = time.monotonic() + _PAUSE_SECONDS
    while time.monotonic() < deadline:
        going = [entry.pid for root in roots for entry in _tree(root) if entry.state != _STOPPED]
        if not going:
            return
        # Again and again: one that was going may have started another meanwhile.
        send(going, signal.SIGSTOP)
        time.sleep(0.005)
    raise BenchError("it cannot be made to stand still")


def resume(roots: Sequence[int]) -> list[int]:
    """Let programs go on with all their descendants, and return these; one that was going anyway does not notice."""
    pids = [entry.pid for root in roots for entry in _tree(root)]
    send(pids, signal.SIGCONT)
    return pids


def send(pids: Sequence[int], number: signal.Signals) -> None:
    """Send a signal to processes; some of them may be gone."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


@dataclass(frozen=True, slots=True)
class CoreTime:
    """How long one core was busy, of that with interrupts, and how much time went by."""

    busy: float
    interrupts: float
    total: float

    @classmethod
    def now(cls, core: int) -> CoreTime:
        """Since the machine started."""
        for line in Path("/proc/stat").read_text(encoding="utf-8").splitlines():
            label, *ticks = line.split()
            if label == f"cpu{core}":
                user, nice, system, idle, waiting, hard, soft, stolen = (int(tick) / _TICKS for tick in ticks[:8])
                busy = user + nice + system + hard + soft + stolen
                return cls(busy, hard + soft, busy + idle + waiting)
        return cls(0.0, 0.0, 0.0)

    def since(self, earlier: CoreTime) -> CoreTime:
        """What went by between two moments."""
        return CoreTime(
            self.busy - earlier.busy, self.interrupts - earlier.interrupts, max(self.total - earlier.total, 0.01)
        )


def run(
    command: Sequence[str],
    *,
    seconds: float,
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a command to its end within a time limit and return its standard output.

    Raises:
        BenchError: it is missing, failed, or took too long; then it was ended with its descendants.
    """
    name = Path(command[0]).name
    try:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            cwd=directory,
            env=None if environment is None else dict(environment),
            start_new_session=True,
        )
    except OSError as error:
        raise BenchError(f"{name} cannot be started: {error.strerror}") from None
    Priority.give(process.pid)
    try:
        output, errors = process.communicate(timeout=max(seconds, 0.1))
    except subprocess.TimeoutExpired:
        raise BenchError(f"{name} did not end within {seconds:.0f} s") from None
    finally:
        if process.poll() is None:
            send([entry.pid for entry in _tree(process.pid)], signal.SIGKILL)
            process.wait()
    if process.returncode:
        words = " | ".join((errors.strip() or output.strip()).splitlines()[-4:])[-300:]
        raise BenchError(f"{name} ended with status {process.returncode}: {words}")
    return output


def tool_version(command: Sequence[str], *, statuses: tuple[int, ...] = (0,)) -> str:
    """The first line that a tool prints about its version, or nothing."""
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(list(command), capture_output=True, text=True, timeout=20, check=False)
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0].strip() if lines and done.returncode in statuses else ""
