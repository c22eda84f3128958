"""What is refused on the account's pages: forms say so by their status, and whose access has ended signs in again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Final

from allauth.core.exceptions import ImmediateHttpResponse
from django.forms import BaseForm
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect

from kilo_gateway.api_errors import GatewayError

TOO_MANY: Final = "too_many_login_attempts"
# The length of the shortest window. How much is left of one is told to nobody.
RETRY_AFTER_SECONDS: Final = 300

View = Callable[..., HttpResponseBase]


@contextmanager
def leading_to_sign_in() -> Iterator[None]:
    """Around a change of the account: raises the way to the sign-in for whose access has ended meanwhile."""
    try:
        yield
    except GatewayError as error:
        if error.status != 401:
            raise
        raise ImmediateHttpResponse(redirect("account_login")) from None


def with_status(view: View) -> View:
    """The view, whose form answers with 422 when it is not valid, and with 429 after too many attempts."""

    @wraps(view)
    def answering(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = view(request, *args, **kwargs)
        form = (getattr(response, "context_data", None) or {}).get("form")
        if response.status_code == 200 and isinstance(form, BaseForm) and form.is_bound and form.errors:
            if any(error.code == TOO_MANY for errors in form.errors.as_data().values() for error in errors):
                response.status_code = 429
                response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
            else:
                response.status_code = 422
        return response

    return answering
