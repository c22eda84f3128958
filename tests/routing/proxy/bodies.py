"""Bodies of requests for tests: any JSON object, and the refusal of what is none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from kilo_gateway.api_errors import ErrorType, GatewayError
from routing.proxy.body import JsonBody

# A busy machine is no reason to fail.
thorough = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def refusal(raw: bytes) -> str:
    """The message with which a body is refused."""
    with pytest.raises(GatewayError) as caught:
        JsonBody(raw)
    assert (caught.value.error_type, caught.value.status) == (ErrorType.INVALID_REQUEST, 400)
    return caught.value.message


def same(one: Any, other: Any) -> bool:
    """Equal as JSON is: the same types throughout, so that 1, 1.0 and true differ, and -0.0 is not 0.0."""
    return repr(one) == repr(other)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**400), 10**400)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
shallow = scalars | st.lists(scalars, max_size=4) | st.dictionaries(texts, scalars, max_size=4)
deeper = shallow | st.lists(shallow, max_size=4) | st.dictionaries(texts, shallow, max_size=4)
values = deeper | st.lists(deeper, max_size=2)
keys = st.sampled_from(["model", "Model", "provider", "stream", "", "mod\u0435l", "\x00", '"', "\\"]) | texts
objects = st.dictionaries(keys, values, max_size=6)
