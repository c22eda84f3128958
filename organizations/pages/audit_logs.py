"""What was changed, by whom and how."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from itertools import groupby
from typing import Any, Final, TypeAlias

from django import forms
from django.http import Http404, HttpResponse
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from kilo_gateway.ui.drawn import Drawn
from kilo_gateway.ui.links import with_query
from kilo_gateway.ui.remembered import remembered
from organizations.audit_changes import Changed, changed_fields
from organizations.audit_selectors import AuditFilter, ChainHead, ListedRow, audit_entry, audit_list, id_or_email
from organizations.models import AuditAction, AuditLog, Via
from organizations.pages.date_range import FROM, TO, DateRangeForm
from organizations.pages.frame import Page, PageRequest, organization_page
from organizations.people_selectors import addresses_of
from organizations.permissions import Ability

RESULTS: Final = "audit-log"
PART: Final = {RESULTS: "audit_logs/part.html"}
MAX_SEQUENCE: Final = 10**18
# Newest pages of organizations, each about a tenth of a megabyte.
KEPT: Final = 16
# By the first word of an action: what they are about, and how one of them begins. Others are in no organization's log.
GROUPS: Final[Mapping[str, tuple[str, str]]] = {
    "organization_auto": ("Organization Auto", "Organization Auto"),
    "mode": ("Modes", "Mode"),
    "settings": ("Settings", ""),
    "byok": ("Provider keys", "Provider key"),
    "custom_provider": ("Custom providers", "Custom provider"),
    "member": ("Members", "Member"),
    "invitation": ("Invitations", "Invitation"),
    "api_key": ("API keys", "API key"),
    "organization": ("Organization", "Organization"),
}
VIA_TOLD: Final[Mapping[str, str]] = {
    Via.WEB: "web",
    Via.API: "API",
    Via.ADMIN: "staff",
    Via.COMMAND: "command",
    Via.SYSTEM: "system",
}


def action_label(action: str) -> str:
    """An action in words: "Organization Auto route set"."""
    noun, _, rest = action.partition(".")
    words = f"{GROUPS.get(noun, ('', noun))[1]} {rest}".replace(".", " ").replace("_", " ").strip()
    return words[:1].upper() + words[1:]


@cache
def _grouped_actions() -> list[tuple[str, Any]]:
    return [
        ("", "Any"),
        *(
            (label, [(action.value, action_label(action)) for action in AuditAction if action.split(".")[0] == noun])
            for noun, (label, _) in GROUPS.items()
        ),
    ]


class AuditForm(DateRangeForm):
    """Which rows are wanted."""

    text = forms.CharField(
        label="Search messages",
        required=False,
        max_length=200,
        widget=forms.TextInput({"type": "search", "placeholder": "Mode, model, person", "autocomplete": "off"}),
    )
    action = forms.ChoiceField(required=False, choices=_grouped_actions)
    actor = forms.CharField(
        required=False,
        max_length=254,
        widget=forms.TextInput({"placeholder": "Email address", "list": "actors", "autocomplete": "off"}),
    )

    def wanted(self) -> AuditFilter:
        """What the selector is asked for; what makes no sense does not matter."""
        said = self.cleaned_data if self.is_valid() else {}
        return AuditFilter(
            action=AuditAction(said["action"]) if said.get("action") else None,
            actor=id_or_email(said["actor"]) if said.get("actor") else None,
            text=said.get("text", ""),
            since=self.since,
            until=self.until,
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the list."""

    at: datetime
    message: str
    href: str
    who: str
    email: str
    action: str
    via: str
    is_person: bool


@dataclass(frozen=True, slots=True)
class Day:
    """The rows of one day of UTC."""

    day: date
    name: str
    entries: list[Entry]


@dataclass(frozen=True, slots=True)
class Listing:
    """All that the list shows, or that its links say."""

    path: str
    export_path: str
    rows: tuple[ListedRow, ...]
    head: ChainHead
    today: date
    asked: tuple[tuple[str, str], ...] = ()
    exported: tuple[tuple[str, str], ...] = ()
    next_cursor: int | None = None
    is_newest: bool = True


@organization_page("audit-logs", methods=("GET",), requires=Ability.READ_AUDIT_LOG)
def audit_logs(request: PageRequest, page: Page) -> HttpResponse:
    """The log, newest first, a hundred rows a page. Five queries at most, two for the newest."""
    form = AuditForm(request.GET) if request.GET.keys() - {"cursor"} else None
    cursor = _cursor(request.GET.get("cursor", ""))
    found = audit_list(page.organization.pk, form.wanted() if form else AuditFilter(), cursor=cursor)
    asked = {name: value for name, value in request.GET.dict().items() if form and name in form.fields and value}
    listing = Listing(
        path=page.url("audit-logs"),
        export_path=page.url("api-audit-export"),
        rows=tuple(found.rows),
        head=found.head,
        today=datetime.now(UTC).date(),
        asked=(*asked.items(),),
        exported=(*_exported(form, asked).items(),) if form else (),
        next_cursor=found.next_cursor,
        is_newest=cursor is None,
    )
    # What is searched for may be anything, and nobody searches for the same again and again.
    drawn = _kept(listing) if form is None and cursor is None else _drawn(listing)
    context: dict[str, Any] = {"list": drawn}
    if request.htmx.target != RESULTS:
        actors = tuple(addresses_of(page.organization.pk))
        context["filter"] = _filter(listing.path, actors, form) if form else _empty_filter(listing.path, actors)
    is_refused = form is not None and bool(form.errors)
    return page.render("audit_logs/page.html", context, partials=PART, status=422 if is_refused else None)


Actors: TypeAlias = tuple[tuple[str, str], ...]


@remembered
def _empty_filter(path: str, actors: Actors) -> SafeString:
    return _filter(path, actors, AuditForm({}))


def _filter(path: str, actors: Actors, form: AuditForm) -> SafeString:
    return render_to_string("audit_logs/filter.html", {"path": path, "actors": actors, "form": form})


def _drawn(listing: Listing) -> Drawn:
    path, asked, cursor = listing.path, dict(listing.asked), listing.next_cursor
    context = {
        "path": path,
        "days": list(_by_day(listing.rows, path, listing.today)),
        "head": listing.head,
        "head_rows": f"{listing.head.sequence:,}",
        "is_narrowed": bool(asked),
        "exports": [
            (kind.upper(), with_query(listing.export_path, dict(listing.exported), format=kind))
            for kind in ("csv", "jsonl")
        ],
        "newest": "" if listing.is_newest else with_query(path, asked),
        "older": "" if cursor is None else with_query(path, asked, cursor=cursor),
    }
    return Drawn.of(render_to_string("audit_logs/list.html", context))


@lru_cache(maxsize=KEPT)
def _kept(listing: Listing) -> Drawn:
    return _drawn(listing)


@organization_page("audit-logs", methods=("GET",), requires=Ability.READ_AUDIT_LOG)
def audit_log(request: PageRequest, page: Page, sequence: int) -> HttpResponse:
    """One row with all that was changed, and whether its hash still fits. One query."""
    found = audit_entry(page.organization.pk, sequence) if sequence <= MAX_SEQUENCE else None
    if found is None:
        raise Http404
    row, path = found.row, page.url("audit-logs")
    changes: list[Changed] = changed_fields(row.changes)
    context = {
        "found": found,
        "row": row,
        "path": path,
        "changes": changes,
        "who": _who(row),
        "action": action_label(row.action),
        "via": VIA_TOLD.get(row.via, row.via),
        "same_actor": with_query(path, {"actor": row.actor_id}),
        "same_action": with_query(path, {"action": row.action}),
        "older": page.url("audit-log", sequence=sequence - 1) if sequence > 1 else "",
        "newer": "" if found.is_newest else page.url("audit-log", sequence=sequence + 1),
    }
    return page.render("audit_logs/entry.html", context)


def _cursor(said: str) -> int | None:
    """A page's place in the list; what is none counts as not given."""
    is_number = said.isascii() and said.isdigit() and len(said) < len(str(MAX_SEQUENCE))
    return int(said) or None if is_number else None


def _exported(form: AuditForm, kept: Mapping[str, str]) -> dict[str, str]:
    """The same filters as the export takes them: its end is a moment that is not included any more."""
    if form.errors:
        return {}
    ends = {FROM: form.since, TO: form.until}
    return {**kept, **{name: moment.isoformat() for name, moment in ends.items() if moment is not None}}


def _by_day(rows: Iterable[ListedRow], path: str, today: date) -> Iterable[Day]:
    names = {today: "Today, ", today - timedelta(days=1): "Yesterday, "}
    for day, of_day in groupby(rows, key=lambda row: row.created_at.astimezone(UTC).date()):
        yield Day(day, f"{names.get(day, '')}{day:%A} {day.day} {day:%B %Y}", [_entry(row, path) for row in of_day])


def _entry(row: ListedRow, path: str) -> Entry:
    return Entry(
        at=row.created_at.astimezone(UTC),
        message=row.message,
        email=row.actor_email,
        href=f"{path}/{row.sequence}",
        who=_who(row),
        action=action_label(row.action),
        via=VIA_TOLD.get(row.via, row.via),
        is_person=row.actor_id is not None,
    )


def _who(row: AuditLog | ListedRow) -> str:
    """Whoever it was, as he was called then."""
    if row.actor_id is not None or row.actor_email:
        return row.actor_name or row.actor_email or str(row.actor_id)
    return "Command line" if row.via == Via.COMMAND else "The gateway"
