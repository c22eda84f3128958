"""The project's settings, with one address more: the static pages that the pages are compared with."""

from kilo_gateway.settings import *  # noqa: F403 - all of them

ROOT_URLCONF = "bench.page_urls"
