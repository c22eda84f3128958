"""Explain which model an organization's request would go to."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from kilo_gateway.api_kinds import ApiKind
from organizations.management.problems import named_organization
from routing.catalog.cache import CatalogUnreadable
from routing.domain.resolve import read_request
from routing.domain.types import ORGANIZATION_AUTO
from routing.explanation import explained, in_words


class Command(BaseCommand):
    help = "Resolve a request as the proxy would, without sending anything, and show each step that was taken."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--organization", required=True, metavar="ID_OR_NAME", help="whose request it is")
        parser.add_argument("--mode", default="", help="as in the header x-kilocode-mode; none by default")
        parser.add_argument("--model", default=ORGANIZATION_AUTO, help="the model asked for (default: %(default)s)")
        parser.add_argument("--api-kind", choices=[kind.value for kind in ApiKind], help="any by default")
        parser.add_argument("--json", action="store_true", help="print JSON and nothing else")

    def handle(self, *_args: Any, **options: Any) -> None:
        organization = named_organization(options["organization"])
        api_kind = ApiKind(options["api_kind"]) if options["api_kind"] else None
        asked = read_request(options["model"], options["mode"])
        try:
            told = explained(organization, asked, api_kind)
        except CatalogUnreadable as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            about = {"id": str(organization.pk), "name": organization.name, "plan": organization.plan}
            self.stdout.write(json.dumps({"organization": about, **told}, indent=2))
            return
        self.stdout.write(f"{organization.name} ({organization.plan}), routing version {told['routing_version']}")
        for line in in_words(told):
            self.stdout.write(line)
