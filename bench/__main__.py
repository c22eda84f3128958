"""`python -m bench`: measure, print one table of ratios, keep the results."""

from __future__ import annotations

import argparse
import resource
import shutil
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from bench.figures import OURS, Run, peers, verdicts
from bench.gateway import Gateway, GatewayManyOrganizations
from bench.installation import bench_directory
from bench.measure import Clock, measure_streams
from bench.model import QUICK_PLAN, BenchError, MissingToolError, Plan, Result
from bench.peers import LiteLLM, LiteLLMGranian, Nginx, Portkey
from bench.report import as_json, markdown, notes, ratio_table, raw_table, verdict_table
from bench.runs import Facts, Report, conduct, options_of_a_run, say, take_place
from bench.subject import BareUpstream, Subject
from bench.turns import measure_answers

LIMIT_SECONDS = 12 * 60.0
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
    parser = options_of_a_run("bench", "Measure this gateway against its peers.")
    parser.add_argument("--only", metavar="A,B", help="measure only these subjects (see --subjects)")
    parser.add_argument("--quick", action="store_true", help="a short check of the harness; the figures mean little")
    parser.add_argument("--subjects", action="store_true", help="list the subjects and exit")
    return parser.parse_args(arguments)


def chosen(only: str | None, known: dict[str, Subject]) -> list[Subject]:
    """The subjects of this run, in the order of the table."""
    names = DEFAULT_SUBJECTS if only is None else tuple(name.strip() for name in only.split(",") if name.strip())
    unknown = [name for name in names if name not in known]
    if unknown:
        raise MissingToolError(f"no such subject: {', '.join(unknown)}. There are: {', '.join(known)}")
    return [known[name] for name in names]


def install(subject: Subject) -> Result:
    """The result to be filled in, with the subject's version; if it cannot be installed, that is all there will be."""
    result = Result(subject.name, subject.title, settings=subject.settings)
    try:
        result.version = subject.prepare()
    except BenchError as error:
        say(f"{subject.title} cannot be measured: {error}")
        result.failures.append(f"cannot be measured: {error}")
    return result


def execute(plan: Plan, wanted: Sequence[Subject], facts: Facts) -> Run:
    """Install everything, then measure the bare upstream and all subjects: in turns, then each one's streams alone."""
    # Before anything is pinned or timed.
    results = [(subject, install(subject)) for subject in (BareUpstream(), *wanted)]
    entrants = [(subject, result) for subject, result in results if not result.failures]
    take_place(priority=plan.priority)
    clock = Clock(LIMIT_SECONDS)
    with bench_directory() as directory, ExitStack() as stack:
        for subject, _ in entrants:
            (directory / subject.name).mkdir()
            stack.callback(subject.close)
        measure_answers(entrants, plan, clock, directory)
        for subject, result in entrants:
            say(f"streams of {subject.title} ...")
            measure_streams(result, subject, plan, clock, directory / subject.name / "streams")
            subject.close()
    return Run(facts.started_at, plan, facts.machine, [result for _, result in results])


def summary(run: Run) -> str:
    """The table, the bars and what limits them."""
    tables = [ratio_table(run), verdict_table(run)] if run.result(OURS) and peers(run) else [raw_table(run)]
    return "\n\n".join([*tables, "\n".join(f"note: {note}" for note in notes(run))]).rstrip()


def report(options: argparse.Namespace, facts: Facts) -> Report:
    """All of a run.

    Raises:
        MissingToolError: the machine lacks something, or there is no such subject.
    """
    wanted = chosen(options.only, subjects())
    require_tools()
    raise_file_limit()
    plan = replace(QUICK_PLAN if options.quick else Plan(), priority=options.priority)
    run = execute(plan, wanted, facts)
    return Report(
        kind="",
        text=markdown(run),
        figures=as_json(run),
        is_full=not plan.quick,
        is_met=all(verdict.met is not False for verdict in verdicts(run)),
        summary=summary(run),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench and return the exit status."""
    options = parse(arguments)
    if options.subjects:
        for subject in subjects().values():
            remark = "" if subject.name in DEFAULT_SUBJECTS else " (only with --only)"
            print(f"{subject.name:22}{subject.title}{remark}")
        return 0
    return conduct(options, lambda facts: report(options, facts), tools=True)


if __name__ == "__main__":
    sys.exit(main())
