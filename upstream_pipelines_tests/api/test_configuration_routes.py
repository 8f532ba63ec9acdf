"""Payer aliases, CPT groups and grades of rules read and replaced over HTTP, and how the quality of uploads goes."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from upstream_pipelines.claims.naming import apply_changed_mapping
from upstream_pipelines.customers.configuration import parse_configuration
from upstream_pipelines.customers.roles import Role
from upstream_pipelines.customers.store import configure_customer, create_customer, get_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.ingest.merging import merge_staged
from upstream_pipelines.ingest.staging import stage_waiting
from upstream_pipelines.ingest.uploads import send_file
from upstream_pipelines.settings import Settings

LogIn = Callable[[str, Role], httpx.Client]
ACME = "/api/v1/customers/acme"
HEADER = "claim_id,payer,cpt,submitted_date,decided_date,outcome,allowed_amount,denial_reason_code\n"


@pytest.fixture(scope="module")
def template(fill_template: Callable[[Callable[[Connection, Settings], None]], str]) -> str:
    """Acme with three files, of which the last has a line without payer among its four; and beta without anything."""

    def load(conn: Connection, settings: Settings) -> None:
        customer, _ = create_customer(conn, "acme", "Acme")
        create_customer(conn, "beta", "Beta")
        settings.home.mkdir(parents=True)
        for number in (1, 2, 3):
            payers = ("Aetna", "AETNA INC", "Cigna", "" if number == 3 else "Cigna")
            lines = [
                f"{number}{place},{payer},99213,2026-05-0{number},2026-05-10,PAID,100.00,\n"
                for place, payer in enumerate(payers)
            ]
            file = settings.home / f"{number}.csv"
            file.write_text(HEADER + "".join(lines))
            send_file(conn, settings, customer, file)
            stage_waiting(conn, settings, customer, source="csv", run_id=str(number))
            merge_staged(conn, settings, customer, str(number))
        apply_changed_mapping(conn, customer)

    return fill_template(load)


def test_aliases_and_groups_are_replaced_whole_and_reach_the_stored_claims_with_the_next_run(
    log_in: LogIn, pipeline: Connection
) -> None:
    analyst, owner = log_in("acme", Role.ANALYST), log_in("acme", Role.OWNER)
    empty = analyst.get(f"{ACME}/payer-aliases").json()
    assert (empty["payer_aliases"], empty["applied"]) == ({}, True)
    aliases = {"Aetna\u200b Inc": "Aetna"}
    sent = {"revision": empty["revision"], "payer_aliases": aliases}
    replaced = analyst.put(f"{ACME}/payer-aliases", json=sent)
    assert replaced.status_code == 200, replaced.text
    # As from a file, marks that nobody sees are taken out.
    assert (replaced.json()["payer_aliases"], replaced.json()["applied"]) == ({"Aetna Inc": "Aetna"}, False)
    late = analyst.put(f"{ACME}/payer-aliases", json=sent | {"payer_aliases": {}})
    assert (late.status_code, late.json()["code"]) == (409, "conflict")
    assert analyst.get(f"{ACME}/payer-aliases").json() == replaced.json()
    groups = analyst.get(f"{ACME}/cpt-groups").json()
    grouped = analyst.put(
        f"{ACME}/cpt-groups", json={"revision": groups["revision"], "cpt_groups": {"992*": "OFFICE"}}
    )
    assert grouped.status_code == 200, grouped.text
    assert apply_changed_mapping(pipeline, get_customer(pipeline, "acme")) == 11
    names = pipeline.execute("SELECT DISTINCT payer_name, cpt_group FROM claims ORDER BY 1").fetchall()
    assert names == [("Aetna", "OFFICE"), ("Cigna", "OFFICE")]
    assert analyst.get(f"{ACME}/payer-aliases").json()["applied"]
    assert analyst.get(f"{ACME}/cpt-groups").json()["applied"]
    same = analyst.put(
        f"{ACME}/cpt-groups", json={name: grouped.json()[name] for name in ("revision", "cpt_groups")}
    )
    assert same.json()["revision"] == grouped.json()["revision"]
    acts = owner.get(f"{ACME}/audit", params={"entity_kind": "customer", "limit": 2}).json()["acts"]
    assert [(act["action"], act["details"]) for act in acts] == [
        ("cpt_groups.replaced", {"added": 1, "removed": 0, "changed": 0, "added_names": ["992*"]}),
        ("payer_aliases.replaced", {"added": 1, "removed": 0, "changed": 0}),
    ]
    assert get_customer(pipeline, "beta").stored_configuration == {}


def test_what_a_file_has_set_is_shown_though_it_could_not_be_sent(log_in: LogIn, pipeline: Connection) -> None:
    acme = get_customer(pipeline, "acme")
    odd = {"Aetna\nInc": "Aetna"} | {f"spelling {number}": "Cigna" for number in range(6000)}
    configure_customer(pipeline, acme, parse_configuration({"payer_aliases": odd}, "acme.yaml"))
    viewer = log_in("acme", Role.VIEWER)
    answer = viewer.get(f"{ACME}/payer-aliases")
    assert (answer.status_code, answer.json()["payer_aliases"]) == (200, odd)


def test_grades_are_an_admins_to_change(log_in: LogIn, pipeline: Connection) -> None:
    analyst, admin = log_in("acme", Role.ANALYST), log_in("acme", Role.ADMIN)
    sent = analyst.get(f"{ACME}/quality-rules").json() | {"quality": {"cpt_form": "error", "usual_volume": "off"}}
    assert analyst.put(f"{ACME}/quality-rules", json=sent).status_code == 403
    replaced = admin.put(f"{ACME}/quality-rules", json=sent)
    assert replaced.json() == analyst.get(f"{ACME}/quality-rules").json()
    assert get_customer(pipeline, "acme").configuration.mapping.quality == sent["quality"]
    (act,) = admin.get(f"{ACME}/audit", params={"action": "quality.replaced"}).json()["acts"]
    assert act["details"]["added_names"] == ["cpt_form", "usual_volume"]


@pytest.mark.parametrize(
    ("route", "part", "wrong"),
    [
        ("payer-aliases", "payer_aliases", [{"\u200b": "ZEBRAFISH"}, {"ZEBRAFISH": "\u200b"}, {"": "ZEBRAFISH"},
                                            {"ZEBRAFISH": "a\u0000"}, {"x" * 201: "ZEBRAFISH"}, ["ZEBRAFISH"]]),
        ("cpt-groups", "cpt_groups", [{"9*9 ZEBRAFISH": "VISITS"}, {"992*": ""}]),
        ("quality-rules", "quality", [{"zebrafish_ZEBRAFISH": "off"}, {"payer_present": "off"}, {"cpt_form": "ZEBRAFISH"},
                                      {"usual_volume": "error"}]),
    ],
)  # fmt: skip
def test_what_cannot_be_used_changes_nothing_and_is_not_repeated(
    log_in: LogIn, pipeline: Connection, route: str, part: str, wrong: list[object]
) -> None:
    """One that could be stored but not be read again would stop every run of the customer."""
    admin = log_in("acme", Role.ADMIN)
    revision = admin.get(f"{ACME}/{route}").json()["revision"]
    for values in wrong:
        answer = admin.put(f"{ACME}/{route}", json={"revision": revision, part: values})
        assert answer.status_code == 422, (values, answer.text)
        assert "ZEBRAFISH" not in answer.text
    assert get_customer(pipeline, "acme").stored_configuration == {}


def test_quality_is_told_by_rule_and_by_upload_in_pages(log_in: LogIn, pipeline: Connection) -> None:
    viewer = log_in("acme", Role.VIEWER)
    ids = [str(row[0]) for row in pipeline.execute("SELECT upload_id FROM uploads ORDER BY received_at DESC")]
    newest = {rule["rule"]: rule for rule in viewer.get(f"{ACME}/quality").json()}
    payer = newest["payer_present"]
    assert (payer["score"], payer["failing_rows"], payer["checked_rows"], payer["upload_id"]) == (
        75.0,
        1,
        4,
        ids[0],
    )
    assert payer["received_at"].endswith("Z")
    assert newest["outcome_present"]["score"] == 100.0
    assert "denied_has_reason_code" not in newest, "no denied line was there to be looked at"

    first = viewer.get(f"{ACME}/quality/uploads", params={"limit": 2, "rule": "payer_present"}).json()
    rest = viewer.get(
        f"{ACME}/quality/uploads", params={"limit": 2, "rule": "payer_present", "after": first["next"]}
    ).json()
    uploads = first["uploads"] + rest["uploads"]
    assert ([upload["upload_id"] for upload in uploads], rest["next"]) == (ids, None)
    assert [[rule["score"] for rule in upload["rules"]] for upload in uploads] == [[75.0], [100.0], [100.0]]
    assert uploads[0]["score"] == viewer.get(f"{ACME}/uploads/{ids[0]}").json()["quality"]["score"]
    assert set(uploads[0]["dimensions"]) == {"completeness", "validity", "consistency", "uniqueness", "timeliness"}
    for wanted, count in (({"source": "webhook"}, 0), ({"since": "2999-01-01"}, 0), ({"source": "csv"}, 3)):
        found = viewer.get(f"{ACME}/quality/uploads", params=wanted).json()["uploads"]
        assert len(found) == count, wanted
    assert len(viewer.get(f"{ACME}/quality/uploads").json()["uploads"][0]["rules"]) > 10
    assert viewer.get(f"{ACME}/quality/uploads", params={"after": "x"}).status_code == 422
    stranger = log_in("beta", Role.OWNER)
    assert stranger.get("/api/v1/customers/beta/quality").json() == []
    assert stranger.get("/api/v1/customers/beta/quality/uploads").json() == {"uploads": [], "next": None}
