"""What clients compile with `new RegExp(pattern)`, which is not what Python compiles."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from organizations.modes.file_regex import file_regex_problem


@pytest.mark.parametrize(
    "pattern",
    [
        r"\.md$",
        r"(^|/)(tests?|__tests__)/|[._-]spec\.[a-z]+$",
        r"^(?:docs|site)/.*\.(?:md|mdx)$",
        r"(?<name>a)\p{L}",
        r"(?<ext>md|txt)\.\k<ext>$",
        r"\k<late>(?<late>a)",
        r"(?<=docs/.+)\.md$",
        r"(?<!test)\.ts(?=x?$)(?!y)*",
        r"a{2}b{2,}c{2,3}?d*?e+?f??",
        r"[]a[^]b[a-z-][-a][\w-][\]\\]",
        r"[\d-z]\cA[\cA-\cZ]\x41\u0041[\x41-\u005A]",
        "a{,3}}]{",
        r"\/\-\.\*\1\0",
        "😀+[^😀]",
        r"\p{1}\P{2,}a\p{Script=Greek}{2}[\p{1}]",
    ],
)
def test_what_compiles(pattern: str) -> None:
    assert file_regex_problem(pattern) == ""


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        (r"(?i)\.md$", 'no group "(?i)"'),
        (r"(?i:a)", "no group"),
        (r"(?P<name>a)", 'no group "(?P<"'),
        (r"(?>a)", "no group"),
        (r"(?#note)a", "no group"),
        (r"(a)(?(1)b)", "no group"),
        (r"(?<1>a)", "no group"),
        (r"(?<a>x)(?<a>y)", 'two groups "a"'),
        (r"\k<gone>(?<name>a)", 'no group "gone"'),
        (r"\k", "needs the name"),
        ("a++", 'nothing to repeat before "+"'),
        ("a{2}{3}", 'nothing to repeat before "{3}"'),
        (r"\p{1}{1}", 'nothing to repeat before "{1}"'),
        (r"\P{1}*", 'nothing to repeat before "*"'),
        (r"\p{2,1}", "out of order"),
        (r"[z-\p{1}]", "out of order"),
        ("*.md", 'nothing to repeat before "*"'),
        (r"(?<=a)*b", "nothing to repeat"),
        (r"\b+", "nothing to repeat"),
        ("(|+)", "nothing to repeat"),
        ("a{3,2}", "out of order"),
        ("a{1,99999999999}", "more than"),
        ("(a", 'has no ")"'),
        ("a)", "closes nothing"),
        ("[a", 'has no "]"'),
        ("[", 'has no "]"'),
        ("a\\", "ends with a backslash"),
        ("[z-a]", '"z-a" is out of order'),
        ("[😀-😁]", "not one in JavaScript"),
        (r"[a-\p{L}]", "not one in JavaScript"),
        (r"[\1]", "not a character of a class"),
        (r"\Adocs", r'no "\A"'),
        (r"docs\Z", r'no "\Z"'),
        (r"[\a]", r'no "\a"'),
        ("", "required"),
    ],
)
def test_what_does_not(pattern: str, says: str) -> None:
    assert says in file_regex_problem(pattern)


@given(st.text(alphabet="ab09-[]^(?:<=!>)*+{},|$\\dwkpP.iñ😀", max_size=20))
def test_any_text_has_an_answer(pattern: str) -> None:
    problem = file_regex_problem(pattern)
    assert problem == "" or problem.endswith(".")
    assert problem.isprintable()
