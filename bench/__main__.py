"""`python -m bench`: measure, print one table of ratios, keep the results."""

from __future__ import annotations

import argparse
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.gateway import Gateway, GatewayManyOrganizations
from bench.measure import Clock, measure
from bench.model import CACHE, HERE, QUICK_PLAN, BenchError, MissingToolError, Plan, Result
from bench.peers import LiteLLM, LiteLLMGranian, Nginx, Portkey
from bench.processes import Priority, pin_to_load_core
from bench.report import OURS, Run, as_json, markdown, notes, peers, ratio_table, raw_table, verdict_table, verdicts
from bench.runs import gather_facts, save_results, say, stamp
from bench.subject import BareUpstream, Subject

LIMIT_SECONDS = 11 * 60.0
_FILES_NEEDED = 4096
TOOLS = {"wrk": "wrk", "nginx": "nginx-light", "taskset": "util-linux", "setpriv": "util-linux"}


def subjects() -> dict[str, Subject]:
    """Everything that can be measured, by name; the bare upstream is always measured first."""
    known: list[Subject] = [Gateway(), GatewayManyOrganizations(), Nginx(), LiteLLM(), Portkey(), LiteLLMGranian()]
    return {subject.name: subject for subject in known}


DEFAULT_SUBJECTS = ("ours", "ours-64-organizations", "nginx", "litellm", "portkey")


def require_tools() -> None:
    """Refuse to start without the programs that every measurement needs."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        packages = " ".join(sorted({TOOLS[tool] for tool in missing}))
        raise MissingToolError(f"{', '.join(missing)} not found. Debian and Ubuntu: apt-get install {packages}")


def raise_file_limit() -> None:
    """Let this process and all that it starts open enough connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else hard
    if wanted < _FILES_NEEDED:
        raise MissingToolError(f"only {wanted} open files are allowed; {_FILES_NEEDED} are needed (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure this gateway against its peers.")
    parser.add_argument("--only", metavar="A,B", help="measure only these subjects (see --subjects)")
    parser.add_argument("--quick", action="store_true", help="a short check of the harness; the figures mean little")
    parser.add_argument("--subjects", action="store_true", help="list the subjects and exit")
    parser.add_argument("--check", action="store_true", help="exit with status 1 if a bar was measured and not met")
    parser.add_argument("--priority", action="store_true", help="go before other programs (root, busy machines)")
    parser.add_argument("--results", type=Path, metavar="FOLDER", help="where the results go")
    return parser.parse_args(arguments)


def chosen(only: str | None, known: dict[str, Subject]) -> list[Subject]:
    """The subjects of this run, in the order of the table."""
    names = DEFAULT_SUBJECTS if only is None else tuple(name.strip() for name in only.split(",") if name.strip())
    unknown = [name for name in names if name not in known]
    if unknown:
        raise MissingToolError(f"no such subject: {', '.join(unknown)}. There are: {', '.join(known)}")
    return [known[name] for name in names]


def install(subject: Subject) -> Result | str:
    """The subject's version, installed if need be; or its result, if that is all there will be."""
    try:
        return subject.prepare()
    except BenchError as error:
        say(f"{subject.title} cannot be measured: {error}")
        return Result(subject.name, subject.title, failures=[f"cannot be measured: {error}"])


def execute(plan: Plan, wanted: Sequence[Subject]) -> Run:
    """Install everything, then measure the bare upstream and each subject."""
    facts = gather_facts(tools=True)
    # Before anything is pinned or timed.
    installed = [(subject, install(subject)) for subject in (BareUpstream(), *wanted)]
    pin_to_load_core()
    if plan.priority:
        Priority.take()
    results: list[Result] = []
    clock = Clock(LIMIT_SECONDS)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # the embedded PostgreSQL may run as another user
        for subject, version in installed:
            if isinstance(version, Result):
                results.append(version)
                continue
            say(f"measuring {subject.title} ...")
            result = measure(subject, version, plan, clock, directory / subject.name)
            results.append(result)
            for failure in result.failures:
                say(f"  {failure}")
    return Run(facts.started_at, plan, facts.machine, results)


def print_run(run: Run) -> None:
    """The table, the bars and what limits them."""
    if run.result(OURS) is not None and peers(run):
        print(ratio_table(run), verdict_table(run), sep="\n\n")
    else:
        print(raw_table(run))
    for note in notes(run):
        print(f"note: {note}")


def _interrupted(*_: object) -> None:
    # Once: ending what was started must not be interrupted in turn (it is bounded in time).
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench and return the exit status."""
    options = parse(arguments)
    known = subjects()
    if options.subjects:
        for subject in known.values():
            remark = "" if subject.name in DEFAULT_SUBJECTS else " (only with --only)"
            print(f"{subject.name:22}{subject.title}{remark}")
        return 0
    signal.signal(signal.SIGINT, _interrupted)
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        wanted = chosen(options.only, known)
        require_tools()
        raise_file_limit()
        plan = replace(QUICK_PLAN if options.quick else Plan(), priority=options.priority)
        run = execute(plan, wanted)
    except MissingToolError as error:
        say(f"bench: {error}")
        return 2
    except KeyboardInterrupt:
        say("bench: interrupted; everything it started was ended")
        return 130
    print_run(run)
    folder = options.results or (CACHE if options.quick else HERE) / "results"
    say(f"results: {save_results(folder, stamp(run.started_at), markdown(run), as_json(run))}")
    return 1 if options.check and any(verdict.met is False for verdict in verdicts(run)) else 0


if __name__ == "__main__":
    sys.exit(main())
