"""Say how much an organization may spend on hosted models."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from kilo_gateway.api_errors import GatewayError
from organizations import audit
from organizations.acting import Acting
from organizations.management.problems import named_organization
from routing.domain.cost import MICRODOLLARS
from routing.domain.spending import dollars
from routing.services.hosted_balance import hosted_balance_adjust, hosted_balance_set
from routing.services.spending_limits import MAX_MICRODOLLARS


def microdollars(text: str) -> int:
    """An amount of dollars with at most six decimals, in microdollars; raises `ArgumentTypeError`."""
    try:
        amount = Decimal(text.strip().removeprefix("$"))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or abs(amount) > MAX_MICRODOLLARS or amount != round(amount, 6):
        raise ArgumentTypeError(f'"{text}" is no amount of dollars such as 25 or 12.50')
    return int(amount * MICRODOLLARS)


class Command(BaseCommand):
    help = "Set the hosted balance of an organization, or add to it. It is in force from the next request on."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--organization", required=True, metavar="ID_OR_NAME", help="whose balance it is")
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--dollars", type=microdollars, metavar="AMOUNT", help="the balance from now on")
        what.add_argument(
            "--add-dollars", type=microdollars, metavar="AMOUNT", help="what is added to it, or with a minus taken off"
        )
        what.add_argument("--unlimited", action="store_true", help="keep no balance, so that none limits anything")

    def handle(self, *_args: Any, **options: Any) -> None:
        organization = named_organization(options["organization"])
        acting = Acting(audit.COMMAND)
        try:
            if options["add_dollars"] is not None:
                after = hosted_balance_adjust(
                    organization_id=organization.pk, acting=acting, microdollars=options["add_dollars"]
                )
            else:
                after = hosted_balance_set(
                    organization_id=organization.pk, acting=acting, microdollars=options["dollars"]
                )
        except GatewayError as error:
            raise CommandError(error.message) from error
        told = "No balance is kept" if after is None else f"The balance is {dollars(after)}"
        self.stdout.write(f"{organization.name}: {told}.")
