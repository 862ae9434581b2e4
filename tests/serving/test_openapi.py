"""Whatever the description of the API allows, and what it does not, is answered as it says and never by 5xx."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from serving_samples import Serve

from nearfar.store import Store

EXAMPLES = 12  # of each route, as described and not as described


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["texts", "pictures"])
def test_no_request_ends_in_an_error_of_the_server(kind: str, request: pytest.FixtureRequest, served: Serve):
    schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis")
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    store: Store = request.getfixturevalue(kind)
    client = served(store)
    schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
    checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
    seen: dict[str, set[int]] = {}

    def tried(operation: Any, mode: Any) -> None:
        # A failure is not made smaller, which would take minutes.
        @settings(max_examples=EXAMPLES, phases=[Phase.generate], deadline=None, derandomize=True, database=None,
                  suppress_health_check=list(HealthCheck))  # fmt: skip
        @given(operation.as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            sent = case.as_transport_kwargs(base_url="http://127.0.0.1")
            answer = client.request(**{name: value for name, value in sent.items() if value is not None})
            case.validate_response(answer, checks=checks)
            seen.setdefault(operation.path, set()).add(answer.status_code)

        ask()

    for found in schema.get_all_operations():
        operation = found.ok()
        for mode in schemathesis.GenerationMode:
            described = mode is schemathesis.GenerationMode.POSITIVE
            with nullcontext() if described else suppress(Unsatisfiable):  # where nothing can be wrong
                tried(operation, mode)
    assert seen.keys() >= {"/search", "/search/file", "/embed", "/embed/file", "/neighbours", "/row", "/rows", "/info"}
    assert 200 in seen["/rows"] and 200 in seen["/search"] | seen["/embed"] | seen["/info"]
    assert all(status < 500 for statuses in seen.values() for status in statuses)
