"""From a file's bytes to claims, in the real database: nothing lost, nothing doubled, history kept."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from upstream_pipelines.claims.merge import merge_upload
from upstream_pipelines.db.second import SecondConnection
from upstream_pipelines.drift.counting import refresh_activity
from upstream_pipelines.drift.reading import read_activity
from upstream_pipelines.ingest import staging
from upstream_pipelines.ingest.landing import customer_folder
from upstream_pipelines.ingest.merging import merge_staged
from upstream_pipelines.ingest.staging import MAX_ATTEMPTS, stage_waiting
from upstream_pipelines.ingest.uploads import (
    Work,
    customer_lock,
    get_upload,
    register_landed_files,
    rejections,
    request_customers_with_work,
)
from upstream_pipelines.quality.store import load_report
from upstream_pipelines_tests.database.ingested import HEADER, Ingest, file_of, row


def test_good_rows_become_claims_and_bad_ones_are_set_apart_with_field_rule_and_reason(ingest: Ingest) -> None:
    upload = ingest.load(
        file_of(row("A"), "B,1,,99213,2026-01-05,2026-02-01,PAID,100,80", row("C", decided="soon"))
    )
    assert (upload["status"], upload["rows"], upload["accepted"], upload["rejected"]) == ("partial", 3, 1, 2)
    found = {(item["field"], item["rows"], tuple(item["row_numbers"])) for item in rejections(
        ingest.conn, ingest.customer.customer_id, upload["upload_id"])}  # fmt: skip
    assert ("payer", 1, (2,)) in found
    assert ("decided_date", 1, (3,)) in found
    assert ingest.claims() == [("A", "PAID")]


def test_a_packed_file_is_loaded_like_any_other_and_one_without_header_by_the_numbers_of_its_columns(
    ingest: Ingest,
) -> None:
    upload = ingest.load(gzip.compress(file_of(row("A"), "Total,,,,,,,100,80").encode()))
    assert (upload["status"], upload["accepted"], upload["rejected"]) == ("partial", 1, 1)
    assert upload["detected"]["compression"] == "gzip"
    (rejected,) = rejections(ingest.conn, ingest.customer.customer_id, upload["upload_id"])
    assert (rejected["rule"], rejected["row_numbers"]) == ("claim_line", [2])
    assert ingest.conn.execute("SELECT count(*) FROM alerts").fetchone() == (0,)
    ingest.configure({"no_header": True, "columns": {field: n for n, field in enumerate(HEADER.split(","), 1)}})
    assert ingest.load(row("B") + "\n")["status"] == "success"
    assert ingest.claims() == [("A", "PAID"), ("B", "PAID")]


def test_the_same_bytes_again_are_recognised_and_add_nothing(ingest: Ingest) -> None:
    first = ingest.load(file_of(row("A"), row("B")))
    again = ingest.load(file_of(row("A"), row("B")))
    assert again["duplicate_of"] == first["upload_id"]
    assert (again["status"], again["rows"], again["accepted"], again["duplicates"]) == ("success", 2, 0, 2)
    assert len(ingest.claims()) == 2


def test_the_same_bytes_are_read_again_when_the_mapping_changed_meanwhile(ingest: Ingest) -> None:
    text = (
        "claim_id,line_number,payer,cpt,submitted_date,decided_date,outcome\nA,1,Aetna,99213,2026-01-05,,frozen\n"
    )
    assert ingest.load(text)["status"] in {"partial", "success", "failed"}
    ingest.configure({"outcomes": {"frozen": "PENDING"}})
    again = ingest.load(text)
    assert again["duplicate_of"] is None
    assert ingest.claims() == [("A", "PENDING")]


def test_the_same_lines_in_another_file_add_nothing(ingest: Ingest) -> None:
    ingest.load(file_of(row("A"), row("B")))
    upload = ingest.load(file_of(row("B"), row("A"), row("C")))
    assert (upload["accepted"], upload["updated"], upload["duplicates"]) == (1, 0, 2)
    assert [claim for claim, _ in ingest.claims()] == ["A", "B", "C"]


def test_duplicates_that_the_merge_finds_are_in_the_quality_report(ingest: Ingest) -> None:
    """The rows are judged before the merge knows which of them are duplicates."""
    first = ingest.load(file_of(row("A"), row("B")))
    second = ingest.load(file_of(row("A"), row("B"), row("C"), row("D")))
    customer_id = ingest.customer.customer_id
    whole = load_report(ingest.conn, customer_id, first["upload_id"])
    half = load_report(ingest.conn, customer_id, second["upload_id"])
    assert whole.dimensions["uniqueness"] == 100
    assert half.dimensions["uniqueness"] == 50
    assert half.score < whole.score
    assert (half.summary["accepted"], half.summary["duplicates"]) == (2, 2)


def test_a_pending_line_decided_later_is_updated_in_place_with_its_history(ingest: Ingest) -> None:
    ingest.load(file_of(row("A", "PENDING", "", allowed="")))
    before = ingest.claims("first_seen_at, decision_seen_at, version")
    upload = ingest.load(file_of(row("A", "DENIED", "2026-02-10", allowed="")))
    assert (upload["accepted"], upload["updated"], upload["duplicates"]) == (1, 1, 0)
    after = ingest.claims("first_seen_at, decision_seen_at, version")
    assert after[0][0] == before[0][0]
    assert before[0][1] is None
    assert after[0][1] is not None
    assert (before[0][2], after[0][2]) == (1, 2)
    history = ingest.conn.execute(
        "SELECT version, line ->> 'outcome', replaced_by_upload FROM claim_history"
    ).fetchall()
    assert history == [(1, "PENDING", upload["upload_id"])]


def test_of_two_rows_for_one_line_in_a_file_the_last_counts_and_the_counts_add_up(ingest: Ingest) -> None:
    upload = ingest.load(file_of(row("A", "PENDING", "", allowed=""), row("A", "PAID", "2026-02-01")))
    assert (upload["rows"], upload["accepted"], upload["duplicates"]) == (2, 1, 1)
    assert ingest.claims() == [("A", "PAID")]


def test_equal_lines_without_a_claim_id_are_all_kept_and_sending_them_again_adds_nothing(ingest: Ingest) -> None:
    """Two visits of one kind on one day are two lines, not one sent twice."""
    header = "payer,cpt,submitted_date,decided_date,outcome,billed_amount\n"
    row = "Aetna,99213,2026-01-05,2026-02-01,PAID,100\n"
    assert ingest.load(header + row * 3)["accepted"] == 3
    again = ingest.load(header + row * 3 + "Cigna,99213,2026-01-05,2026-02-01,PAID,100\n")
    assert (again["accepted"], again["duplicates"]) == (1, 3)
    assert len(ingest.claims()) == 4


def test_aliases_and_groups_are_applied_and_applied_again_when_they_change(ingest: Ingest) -> None:
    ingest.configure({"payer_aliases": {"AETNA inc": "Aetna"}, "cpt_groups": {"992*": "VISITS"}})
    ingest.load(
        file_of("A,1,Aetna  Inc,99213,2026-01-05,2026-02-01,PAID,1,1", "B,1,Cigna,97110,2026-01-05,,PENDING,1,")
    )
    assert ingest.claims("payer, payer_name, cpt_group") == [
        ("Aetna  Inc", "Aetna", "VISITS"),
        ("Cigna", "Cigna", "OTHER"),
    ]
    refresh_activity(ingest.conn, ingest.customer.customer_id)
    ingest.configure({"payer_aliases": {"cigna": "Cigna Health"}, "cpt_groups": {"97110": "THERAPY", "9*": "ANY"}})
    ingest.run()
    assert ingest.claims("payer_name, cpt_group") == [("Aetna Inc", "ANY"), ("Cigna Health", "THERAPY")]
    refresh_activity(ingest.conn, ingest.customer.customer_id)
    activity, _, _ = read_activity(ingest.conn, ingest.customer.customer_id)
    assert sorted(activity["payer"].unique()) == ["Aetna Inc", "Cigna Health"]


def test_a_refused_file_says_what_to_do_is_kept_and_stops_no_other(ingest: Ingest) -> None:
    bad = ingest.send(b"\x00\x01\x02 not text at all \x00")
    good = ingest.send(file_of(row("A")))
    ingest.run()
    customer_id = ingest.customer.customer_id
    refused = get_upload(ingest.conn, customer_id, bad)
    assert refused["status"] == "failed"
    assert "CSV" in refused["error_message"]
    assert get_upload(ingest.conn, customer_id, good)["status"] == "success"
    folder = customer_folder(ingest.settings, "acme")
    assert [path.name for path in (folder / ".failed" / str(bad)).iterdir()] == ["file1.csv"]
    assert [path.name for path in (folder / ".done" / str(good)).iterdir()] == ["file2.csv"]


@pytest.mark.parametrize(
    ("content", "code", "rules"),
    [
        (b"PK\x03\x04 a spreadsheet", "not_unpacked", []),
        (
            b"payer,cpt,submitted_date,decided_date,outcome\n,99213,2026-01-05,2026-02-01,PAID\n",
            "all_rows_rejected",
            ["payer_present"],
        ),
    ],
)
def test_a_refused_file_is_told_to_the_rules_that_ask_for_quality(
    ingest: Ingest, content: bytes, code: str, rules: list[str]
) -> None:
    """A file refused whole is the worse case of a file refused in part, and must not be the silent one."""
    ingest.configure(
        {
            "channels": [{"kind": "email", "name": "m", "recipients": ["a@b.example"]}],
            "alert_rules": [{"name": "q", "kinds": ["quality"]}],
        }
    )
    ingest.load(content)
    ((kind, told),) = ingest.conn.execute("SELECT kind, content FROM alerts").fetchall()
    assert (kind, told["type"], told["data"]["code"], told["data"]["failed_rules"]) == (
        "quality", "upload.refused", code, rules,
    )  # fmt: skip


def test_an_attempt_that_dies_half_way_leaves_nothing_and_the_next_one_loads_all(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload_id = ingest.send(file_of(row("A"), row("B")))

    def fail(*_arguments: object, **_named: object) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr(staging, "save_report", fail)
    with pytest.raises(RuntimeError, match="killed"):
        ingest.run()
    assert ingest.conn.execute("SELECT count(*) FROM received_lines").fetchone() == (0,)
    assert get_upload(ingest.conn, ingest.customer.customer_id, upload_id)["status"] == "processing"
    monkeypatch.undo()
    ingest.run()
    upload = get_upload(ingest.conn, ingest.customer.customer_id, upload_id)
    assert (upload["status"], upload["accepted"], upload["attempt"]) == ("success", 2, 2)


def test_an_upload_that_keeps_killing_its_runs_is_given_up_with_a_message(ingest: Ingest) -> None:
    upload_id = ingest.send(file_of(row("A")))
    ingest.conn.execute("UPDATE uploads SET status = 'processing', attempt = %s", (MAX_ATTEMPTS,))
    ingest.run()
    upload = get_upload(ingest.conn, ingest.customer.customer_id, upload_id)
    assert (upload["status"], upload["error_code"]) == ("failed", "attempts_used_up")


def test_a_merge_that_dies_is_made_again_and_doubles_nothing(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest.load(file_of(row("A", "PENDING", "", allowed="")))
    upload_id = ingest.send(file_of(row("A"), row("B")))
    customer = ingest.customer
    stage_waiting(ingest.conn, ingest.settings, customer, source="csv", run_id="r")
    with SecondConnection(ingest.conn) as second, ingest.conn.transaction(force_rollback=True):
        merge_upload(ingest.conn, second, customer, upload_id)
    assert ingest.claims() == [("A", "PENDING")]
    merge_staged(ingest.conn, ingest.settings, customer, "r2")
    assert ingest.claims() == [("A", "PAID"), ("B", "PAID")]
    assert ingest.conn.execute("SELECT count(*) FROM claim_history").fetchone() == (1,)


def test_dropped_files_are_registered_once_and_unfinished_ones_are_left_alone(ingest: Ingest) -> None:
    folder = Path(str(customer_folder(ingest.settings, "acme")))
    (folder / "a.csv").write_text(file_of(row("A")))
    (folder / "b.csv.part").write_text("half a fi")
    assert len(register_landed_files(ingest.conn, ingest.settings, ingest.customer)) == 1
    assert register_landed_files(ingest.conn, ingest.settings, ingest.customer) == []
    waiting = ingest.settings.model_copy(update={"landing_quiet_seconds": 60.0})
    (folder / "c.csv").write_text(file_of(row("C")))
    assert register_landed_files(ingest.conn, waiting, ingest.customer) == []
    ingest.run()
    assert ingest.claims() == [("A", "PAID")]
    assert sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")) == [
        "b.csv.part",
        "c.csv",
    ]


def test_a_link_in_the_landing_zone_is_not_followed(ingest: Ingest, tmp_path: Path) -> None:
    """Who may write to the folder could read another customer's file through it."""
    secret = tmp_path / "other.csv"
    secret.write_text(file_of(row("THEIRS")))
    folder = Path(str(customer_folder(ingest.settings, "acme")))
    (folder / "link.csv").symlink_to(secret)
    assert register_landed_files(ingest.conn, ingest.settings, ingest.customer) == []
    elsewhere = {"customer_id": ingest.customer.customer_id, "location": str(secret)}
    ingest.conn.execute(
        """INSERT INTO uploads (customer_id, source, location, byte_count)
           VALUES (%(customer_id)s, 'csv', %(location)s, 1)""",
        elsewhere,
    )
    ingest.run()
    assert ingest.claims() == []
    assert ingest.conn.execute("SELECT status, error_code FROM uploads").fetchall() == [("failed", "file_refused")]
    assert secret.exists()


def test_a_customer_with_work_is_asked_for_once_until_its_run_should_have_taken_it(ingest: Ingest) -> None:
    folder = Path(str(customer_folder(ingest.settings, "acme")))
    (folder / "a.csv").write_text(file_of(row("A")))
    (upload_id,) = register_landed_files(ingest.conn, ingest.settings, ingest.customer)
    assert request_customers_with_work(ingest.conn, 50) == [
        Work("acme", f"{upload_id}:1", ("csv",), 1, (upload_id,), (), again=False, unread=False)
    ]
    assert request_customers_with_work(ingest.conn, 50) == []
    ingest.conn.execute("UPDATE uploads SET requested_at = now() - interval '2 minutes'")
    assert [work.run_key for work in request_customers_with_work(ingest.conn, 50)] == [f"{upload_id}:2"]


def test_an_upload_in_the_hands_of_a_living_run_is_not_asked_for_again(ingest: Ingest) -> None:
    """The customer's lock tells a run at work from one that was killed."""
    ingest.send(file_of(row("A")))
    ingest.conn.execute("UPDATE uploads SET status = 'processing', requested_at = now() - interval '1 hour'")
    with customer_lock(ingest.conn, ingest.customer.customer_id):
        assert request_customers_with_work(ingest.conn, 50) == []
    assert [work.slug for work in request_customers_with_work(ingest.conn, 50)] == ["acme"]


_LINES = st.lists(
    st.tuples(
        st.sampled_from(["A", "B", "C", ""]),
        st.sampled_from(["1", "2", ""]),
        st.sampled_from(["Aetna", "Cigna", ""]),
        st.sampled_from(["99213", "97110", "x"]),
        st.sampled_from(["2026-01-05", "2026-01-06", "never", ""]),
        st.sampled_from(["2026-02-01", "2026-02-02", "2025-12-01", ""]),
        st.sampled_from(["PAID", "DENIED", "PENDING", "what"]),
        st.sampled_from(["100", "-5", "$1,000.00", ""]),
        st.sampled_from(["80", "", "80.5"]),
    ),
    max_size=12,
)


@given(files=st.lists(_LINES, min_size=1, max_size=3))
@hypothesis_settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_accepted_rejected_and_duplicates_add_up_to_the_rows_of_every_upload(
    ingest: Ingest, files: list[list[tuple[str, ...]]]
) -> None:
    for lines in files:
        upload = ingest.load(
            file_of(*(",".join(f'"{cell}"' if "," in cell else cell for cell in line) for line in lines))
        )
        if upload["error_code"] not in {None, "all_rows_rejected"}:
            assert not lines
            continue
        assert upload["rows"] == upload["accepted"] + upload["rejected"] + upload["duplicates"]
        assert upload["rows"] == (len(lines) if upload["duplicate_of"] is None else upload["duplicates"])
    history = ingest.conn.execute("SELECT count(*), coalesce(sum(version - 1), 0) FROM claims").fetchone()
    kept = ingest.conn.execute("SELECT count(*) FROM claim_history").fetchone()
    assert history is not None
    assert kept == (history[1],)
