"""Each route of the API says whom it is for, or stands here with the reason why it is for everybody."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi.dependencies.models import Dependant
from fastapi.routing import RouteContext, iter_route_contexts

from upstream_pipelines.api.app import create_app
from upstream_pipelines.api.authentication import OrOperator
from upstream_pipelines.api.bodies import JsonRoute
from upstream_pipelines.customers.roles import Action, Role, allowed
from upstream_pipelines.settings import Settings

PUBLIC = {
    "/": "leads to the page of the API and asks nothing",
    "/health": "asked by load balancers; tells nothing but whether requests are served",
    "/health/live": "the same",
    "/health/ready": "the same",
    "/metrics": "counts of the whole platform, from loopback or for a token of its own",
    "/api/v1/monitoring/status": "the same",
    "/api/v1/auth/login": "is how one comes to have a token",
    "/api/v1/auth/refresh": "checks the refresh token in its body",
    "/api/v1/auth/password": "checks the token in its body",
    "/api/v1/openapi.json": "describes the API and holds nothing of anybody",
    "/api/v1/docs": "the same for people",
    "/api/v1/docs/oauth2-redirect": "part of that page",
    "/api/v1/docs/static": "files of that page",
}

# What the platform's operator alone does: signing customers up, and what is set in one.
OPERATORS = {("POST", "/api/v1/customers"), ("PUT", "/api/v1/customers/{slug}/product-flags")}

# What each route asks for, written down apart from the routes. Users, alerts' silences and rules, channels, tokens and configuration are
# for owners and admins, who alone may "manage"; mappings, feedback, files and reports are "work", for analysts too; leaving a customer
# is for whoever may read. "... or operator" takes the operator's token beside those of members. "person" and "token" are of no role; "*" is a mount, which has no methods.
RIGHTS = {
    ("GET", "/"): "public",
    ("POST", "/api/v1/auth/login"): "public",
    ("POST", "/api/v1/auth/logout"): "person",
    ("POST", "/api/v1/auth/password"): "public",
    ("POST", "/api/v1/auth/refresh"): "public",
    ("GET", "/api/v1/customers"): "person",
    ("POST", "/api/v1/customers"): "operator",
    ("GET", "/api/v1/customers/{slug}"): "read",
    ("PATCH", "/api/v1/customers/{slug}"): "manage",
    ("GET", "/api/v1/customers/{slug}/alert-rules"): "read",
    ("POST", "/api/v1/customers/{slug}/alert-rules"): "manage",
    ("DELETE", "/api/v1/customers/{slug}/alert-rules/{rule_id}"): "manage",
    ("GET", "/api/v1/customers/{slug}/alert-rules/{rule_id}"): "read",
    ("PUT", "/api/v1/customers/{slug}/alert-rules/{rule_id}"): "manage",
    ("GET", "/api/v1/customers/{slug}/alerts"): "read",
    ("GET", "/api/v1/customers/{slug}/alerts/{alert_id}"): "read",
    ("POST", "/api/v1/customers/{slug}/alerts/{alert_id}/feedback"): "work",
    ("GET", "/api/v1/customers/{slug}/audit"): "audit",
    ("GET", "/api/v1/customers/{slug}/audit.csv"): "audit",
    ("GET", "/api/v1/customers/{slug}/channels"): "read",
    ("POST", "/api/v1/customers/{slug}/channels"): "manage",
    ("GET", "/api/v1/customers/{slug}/channels/{channel_id}"): "manage",
    ("POST", "/api/v1/customers/{slug}/channels/{channel_id}/disable"): "manage",
    ("POST", "/api/v1/customers/{slug}/channels/{channel_id}/enable"): "manage",
    ("POST", "/api/v1/customers/{slug}/channels/{channel_id}/rotate-secret"): "manage",
    ("POST", "/api/v1/customers/{slug}/channels/{channel_id}/test"): "manage",
    ("GET", "/api/v1/customers/{slug}/claims"): "read",
    ("GET", "/api/v1/customers/{slug}/cpt-groups"): "read",
    ("PUT", "/api/v1/customers/{slug}/cpt-groups"): "work",
    ("GET", "/api/v1/customers/{slug}/deliveries"): "read",
    ("POST", "/api/v1/customers/{slug}/deliveries/{delivery_id}/resend"): "manage",
    ("GET", "/api/v1/customers/{slug}/drift/events"): "read",
    ("GET", "/api/v1/customers/{slug}/drift/events/{event_id}"): "read",
    ("POST", "/api/v1/customers/{slug}/drift/events/{event_id}/acceptance"): "work",
    ("DELETE", "/api/v1/customers/{slug}/drift/labels"): "manage",
    ("GET", "/api/v1/customers/{slug}/drift/labels"): "read",
    ("POST", "/api/v1/customers/{slug}/drift/labels"): "manage",
    ("GET", "/api/v1/customers/{slug}/members"): "read",
    ("POST", "/api/v1/customers/{slug}/members"): "manage",
    ("DELETE", "/api/v1/customers/{slug}/members/{person_id}"): "manage",
    ("PATCH", "/api/v1/customers/{slug}/members/{person_id}"): "manage",
    ("DELETE", "/api/v1/customers/{slug}/membership"): "read",
    ("GET", "/api/v1/customers/{slug}/payer-aliases"): "read",
    ("PUT", "/api/v1/customers/{slug}/payer-aliases"): "work",
    ("GET", "/api/v1/customers/{slug}/payers"): "read",
    ("GET", "/api/v1/customers/{slug}/product-flags"): "read or operator",
    ("PUT", "/api/v1/customers/{slug}/product-flags"): "operator",
    ("GET", "/api/v1/customers/{slug}/quality"): "read",
    ("GET", "/api/v1/customers/{slug}/quality-rules"): "read",
    ("PUT", "/api/v1/customers/{slug}/quality-rules"): "manage",
    ("GET", "/api/v1/customers/{slug}/quality/uploads"): "read",
    ("GET", "/api/v1/customers/{slug}/reports"): "read",
    ("POST", "/api/v1/customers/{slug}/reports"): "work",
    ("GET", "/api/v1/customers/{slug}/reports/{report_id}"): "read",
    ("GET", "/api/v1/customers/{slug}/reports/{report_id}/files/{format}"): "read",
    ("GET", "/api/v1/customers/{slug}/silences"): "read",
    ("POST", "/api/v1/customers/{slug}/silences"): "manage",
    ("DELETE", "/api/v1/customers/{slug}/silences/{silence_id}"): "manage",
    ("GET", "/api/v1/customers/{slug}/tokens"): "manage",
    ("POST", "/api/v1/customers/{slug}/tokens"): "manage",
    ("DELETE", "/api/v1/customers/{slug}/tokens/{token_id}"): "manage",
    ("GET", "/api/v1/customers/{slug}/uploads"): "read",
    ("POST", "/api/v1/customers/{slug}/uploads"): "work or operator",
    ("GET", "/api/v1/customers/{slug}/uploads/{upload_id}"): "read",
    ("GET", "/api/v1/customers/{slug}/uploads/{upload_id}/rejected.csv"): "read",
    ("GET", "/api/v1/docs"): "public",
    ("GET", "/api/v1/docs/oauth2-redirect"): "public",
    ("*", "/api/v1/docs/static"): "public",
    ("POST", "/api/v1/ingest/webhook"): "token",
    ("POST", "/api/v1/ingest/webhook/"): "token",
    ("GET", "/api/v1/me"): "person",
    ("PUT", "/api/v1/me/password"): "person",
    ("GET", "/api/v1/monitoring/status"): "public",
    ("GET", "/api/v1/openapi.json"): "public",
    ("HEAD", "/api/v1/openapi.json"): "public",
    ("POST", "/api/v1/uploads"): "token",
    ("POST", "/api/v1/uploads/"): "token",
    ("GET", "/api/v1/uploads/{upload_id}"): "token",
    ("GET", "/health"): "public",
    ("GET", "/health/live"): "public",
    ("GET", "/health/ready"): "public",
    ("GET", "/metrics"): "public",
}


def _calls(dependant: Dependant) -> Iterator[Any]:
    for inner in dependant.dependencies:
        yield inner.call
        yield from _calls(inner)


def _rules(route: RouteContext) -> list[object]:
    """What stands in the way of a request: an action, a log-in, an ingestion token."""
    dependant = getattr(route, "dependant", None)
    calls = (dependant.call, *_calls(dependant)) if dependant is not None else ()
    return [call.rule for call in calls if hasattr(call, "rule")]


def _routes() -> list[RouteContext]:
    return list(iter_route_contexts(create_app(Settings()).routes))


def test_each_route_has_one_rule_or_a_reason_to_have_none() -> None:
    seen = set()
    for route in _routes():
        rules = _rules(route)
        path = str(route.path)
        seen.add(path)
        assert len(rules) == (0 if path in PUBLIC else 1), f"{route.methods} {path}: {rules}"
    assert set(PUBLIC) <= seen


def test_each_route_asks_for_the_right_that_is_written_down_for_it() -> None:
    """The matrix of roles and routes takes a route's right from the route, so that it lets one become less unseen."""
    asked = {
        (method, str(route.path)): str((_rules(route) or ["public"])[0])
        for route in _routes()
        for method in route.methods or {"*"}
    }
    assert asked == RIGHTS


def test_the_document_names_the_tokens_that_each_route_takes() -> None:
    """Any of those named opens it: a client made from the document knows no other way in."""
    schemes = {
        "person": ["access_token"],
        "token": ["ingestion_token"],
        "operator": ["operator_token"],
        "public": [],
    }
    for path, operations in create_app(Settings()).openapi()["paths"].items():
        for method, operation in operations.items():
            right = RIGHTS[method.upper(), path]
            wanted = (
                ["access_token", "operator_token"]
                if "or operator" in right
                else schemes.get(right, ["access_token"])
            )
            assert sorted(name for one in operation.get("security", ()) for name in one) == wanted, (method, path)


def test_each_body_that_is_read_into_a_model_is_bounded() -> None:
    """FastAPI reads it to its end before it asks who sends it."""
    for route in _routes():
        if getattr(route, "body_field", None) is not None:
            assert isinstance(route.original_route, JsonRoute), f"{route.path}: APIRouter(route_class=JsonRoute)"


def test_what_belongs_to_a_customer_asks_for_a_role_in_it_and_nothing_else_does() -> None:
    """Nor a token of the operator. Under the customer's slug a log-in alone, or a token of another customer, would open everybody's data."""
    for route in _routes():
        path = str(route.path)
        of_customer = path.startswith("/api/v1/customers/{slug}")
        operators = bool({(method, path) for method in route.methods or ()} & OPERATORS)
        assert ("operator" in _rules(route)) == operators, path
        assert any(isinstance(rule, Action | OrOperator) for rule in _rules(route)) == (
            of_customer and not operators
        ), path


def test_what_changes_something_asks_for_more_than_reading_and_the_trail_for_its_own_right() -> None:
    """The matrix of roles and routes takes each route at its word; this is whether the word can be right."""
    own = {"/api/v1/customers/{slug}/membership"}  # leaving, which everybody may
    for route in _routes():
        path = str(route.path)
        if not path.startswith("/api/v1/customers/{slug}") or path in own:
            continue
        rules, reads = set(_rules(route)), (route.methods or set()) <= {"GET", "HEAD"}
        if "/audit" in path:
            assert rules == {Action.AUDIT}, path
        elif not reads:
            assert rules <= {Action.WORK, OrOperator(Action.WORK), Action.MANAGE, "operator"}, path
        if "/members/" in path or path.endswith("{slug}"):
            assert reads or rules == {Action.MANAGE}, path


def test_each_role_may_do_what_the_lower_may_and_only_an_admin_manages() -> None:
    assert {role.value: [action.value for action in Action if allowed(role, action)] for role in Role} == {
        "viewer": ["read"],
        "analyst": ["read", "work"],
        "admin": ["read", "work", "manage", "audit"],
        "owner": ["read", "work", "manage", "audit"],
    }
