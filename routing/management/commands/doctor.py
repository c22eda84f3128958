"""`manage.py doctor`: is this installation well, and if not, what is to be done."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand

from routing.doctor import Finding, Level, examine


class Command(BaseCommand):
    help = (
        "Checks the database, the encryption keys, the hosted upstreams, the catalog, the clock, the settings and the "
        "files, and says how to mend what is wrong. Exit code 1 when something fails; warnings alone do not."
    )
    # It has to run where nothing else does.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")

    def handle(self, *_args: Any, **options: Any) -> None:
        findings = examine()
        worst = max((finding.level for finding in findings), key=list(Level).index)
        if options["json"]:
            report = {"status": worst, "findings": [asdict(finding) for finding in findings]}
            self.stdout.write(json.dumps(report, indent=2))
        else:
            self._show(findings)
        if worst is Level.FAIL:
            raise SystemExit(1)

    def _show(self, findings: list[Finding]) -> None:
        width = max(len(finding.check) for finding in findings)
        for finding in findings:
            self.stdout.write(f"{finding.level:<4}  {finding.check:<{width}}  {finding.what}")
            if finding.mend:
                self.stdout.write(f"{'':<4}  {'':<{width}}  -> {finding.mend}")
        failures, warnings = (sum(f.level is level for f in findings) for level in (Level.FAIL, Level.WARN))
        self.stdout.write(f"{failures} failures, {warnings} warnings.")
