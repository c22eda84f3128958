from __future__ import annotations

import pytest

from organizations.models import Role
from organizations.permissions import ABILITIES, Ability, may

# The table once more, so that a change of it is one that somebody meant: owner, admin, billing manager, member.
TABLE = {
    Ability.VIEW: "yes yes yes yes",
    Ability.EDIT_MODES: "yes yes yes yes",
    Ability.CONFIGURE_ROUTING: "yes yes - -",
    Ability.MANAGE_CREDENTIALS: "yes yes yes -",
    Ability.MANAGE_SPENDING: "yes yes yes -",
    Ability.READ_AUDIT_LOG: "yes yes yes -",
    Ability.MANAGE_MEMBERS: "yes yes - -",
    Ability.OWN_API_KEYS: "yes yes yes yes",
}


def test_every_ability_is_in_the_table() -> None:
    assert set(ABILITIES) == set(TABLE) == set(Ability)


@pytest.mark.parametrize("ability", Ability)
def test_the_table(ability: Ability) -> None:
    allowed = {role for role, word in zip(Role, TABLE[ability].split(), strict=True) if word == "yes"}
    assert {role for role in Role if may(role, ability)} == allowed
    # As a row of the database has it.
    assert {role for role in Role if may(role.value, ability)} == allowed


@pytest.mark.parametrize("role", ["", "root", "Owner"])
def test_a_role_that_is_none_may_nothing(role: str) -> None:
    assert not any(may(role, ability) for ability in Ability)
