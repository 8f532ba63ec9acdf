"""The fields of a claim line: kind, length, description, and the headers they are known by.

Not here: a customer's own headers (mapping.py), reading cells (normalise.py), verdicts (quality/).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "code", "date", "money", "integer", "quantity", "flag", "outcome"]
OUTCOMES = ("PAID", "DENIED", "PENDING", "OTHER")
UNSPECIFIED_CPT = "UNSPECIFIED"


@dataclass(frozen=True)
class ClaimField:
    """One field of the claim line.

    `synonyms` are headers that mean this field and nothing else. `weak_synonyms` are taken only where
    no better header is there: a file with both `payer` and `plan` has its payer in `payer`.
    `code`, `amount`, `claim_date` and `account_number` are left out on purpose: each means several things, and
    taken for the wrong one it would load without a complaint. The mapping has to say what they are.
    `max_length` in characters, for text: a longer cell is a shifted or unquoted one, and text of more
    than about 2,700 bytes fits no index entry of PostgreSQL.
    """

    name: str
    kind: Kind
    description: str
    synonyms: tuple[str, ...] = ()
    weak_synonyms: tuple[str, ...] = ()
    required: bool = False
    max_length: int = 100


_ALL = (
    ClaimField(
        "claim_id",
        "text",
        "The claim's number at the provider or payer.",
        ("claim_number", "claim_no", "claim_num", "claim_control_number", "icn", "dcn", "tcn"),
        ("claim", "clm_id", "patient_control_number", "claim_nbr", "clm_no", "clm_num", "clm_nbr",
         "claim_reference_number", "internal_control_number"),
    ),
    ClaimField(
        "line_number",
        "integer",
        "Number of the service line within the claim.",
        ("line_no", "line_num", "claim_line", "claim_line_number", "service_line", "service_line_number"),
        ("line", "line_id", "line_seq", "sequence", "line_nbr", "line_item_number"),
    ),
    ClaimField(
        "payer",
        "text",
        "The insurance payer, as sent.",
        ("payer_name", "payor", "payor_name", "insurance_provider", "insurance_company", "insurer",
         "insurance_carrier", "carrier", "carrier_name", "insurance_name", "primary_payer", "primary_insurance",
         "primary_payer_name", "health_plan"),
        ("insurance", "plan", "plan_name", "insurance_plan", "payer_id", "payor_id", "ins_name", "ins_company",
         "insurance_carrier_name", "insurance_payer", "insurance_plan_name", "primary_ins", "primary_payor",
         "payer_plan_name", "payor_plan"),
        required=True,
        max_length=200,
    ),
    ClaimField(
        "cpt",
        "code",
        "Procedure code, CPT or HCPCS.",
        ("cpt_code", "cpt_hcpcs", "hcpcs", "hcpcs_code", "hcpcs_cpt", "procedure_code", "proc_code",
         "service_code", "cpt_hcpcs_code"),
        ("procedure", "proc", "proc_cd", "cpt_cd", "hcpcs_cd", "procedure_cd", "billing_code",
         "cpt_procedure_code"),
        required=True,
        max_length=50,
    ),
    ClaimField(
        "modifiers",
        "code",
        "Procedure modifiers, separated by a space.",
        ("modifier", "modifier_codes", "cpt_modifier", "cpt_modifiers", "procedure_modifier", "mod", "mods"),
        ("modifier_1", "mod1", "modifier_s", "modifier_list", "procedure_modifiers"),
        max_length=50,
    ),
    ClaimField(
        "service_date",
        "date",
        "Day of the service.",
        ("date_of_service", "dos", "service_from_date", "from_date_of_service", "dos_from", "svc_date"),
        ("service_from", "from_date", "service_start_date", "procedure_date", "svc_dt", "service_dt",
         "dt_of_service", "date_of_svc", "from_dos", "service_date_from", "dos_start"),
    ),
    ClaimField(
        "submitted_date",
        "date",
        "Day the claim went to the payer.",
        ("submission_date", "date_submitted", "submit_date", "submitted_on", "claim_submission_date",
         "claim_submitted_date", "billed_date", "date_billed", "bill_date", "billing_date", "filed_date",
         "date_filed", "sent_date"),
        ("submitted", "received_date", "submit_dt", "submitted_dt", "sub_date", "date_of_submission",
         "claim_sent_date", "date_sent", "claim_filed_date", "original_submission_date", "transmission_date",
         "billed_on"),
        required=True,
    ),
    ClaimField(
        "decided_date",
        "date",
        "Day the payer decided; empty while pending.",
        ("decision_date", "date_decided", "adjudication_date", "adjudicated_date", "date_adjudicated", "remit_date",
         "remittance_date", "era_date", "eob_date", "processed_date", "date_processed", "determination_date",
         "response_date", "finalized_date"),
        ("decided", "decision", "denial_date", "close_date", "adjud_date", "adjudicated_on", "decision_dt",
         "date_of_decision", "decided_on", "denied_date", "date_denied", "finalised_date", "process_date",
         "claim_processed_date", "remit_dt", "payer_response_date"),
    ),
    ClaimField(
        "payment_date",
        "date",
        "Day the payer paid.",
        ("paid_date", "date_paid", "check_date", "pay_date", "payment_posted_date", "date_of_payment", "eft_date"),
        ("posted_date", "paid_dt", "payment_dt", "paid_on", "date_of_check", "check_eft_date"),
    ),
    ClaimField(
        "outcome",
        "outcome",
        "PAID, DENIED, PENDING or OTHER.",
        ("claim_status", "claim_outcome", "status", "claim_state", "adjudication_status", "decision_status",
         "payment_status", "disposition", "determination"),
        ("result", "state_of_claim", "claim_disposition", "clm_status", "claim_result", "current_status",
         "adjudication_outcome", "claim_decision"),
        required=True,
    ),
    ClaimField(
        "billed_amount",
        "money",
        "Amount billed, in dollars.",
        ("billed", "charge", "charges", "charge_amount", "charged_amount", "billed_charges", "bill_amount",
         "claim_amount", "submitted_amount", "submitted_charge", "line_charge", "gross_charge", "billed_amt",
         "charge_amt"),
        ("total_charge", "total_charges", "total_charge_amount", "claim_total", "amount_billed", "amt_billed",
         "total_billed", "line_charges", "amount_charged"),
    ),
    ClaimField(
        "allowed_amount",
        "money",
        "Amount the payer allowed, in dollars.",
        ("allowed", "allowed_amt", "allowable", "allowable_amount", "approved_amount", "contract_amount",
         "allowed_charge", "eligible_amount"),
        ("approved", "amount_allowed", "amt_allowed", "total_allowed", "allowed_charges", "contracted_amount",
         "line_allowed"),
    ),
    ClaimField(
        "paid_amount",
        "money",
        "Amount the payer paid, in dollars.",
        ("paid", "paid_amt", "payment", "payment_amount", "amount_paid", "payer_paid", "payer_paid_amount",
         "insurance_paid", "insurance_payment", "net_paid"),
        ("reimbursement", "reimbursed_amount", "amt_paid", "total_paid", "ins_paid", "insurance_paid_amount",
         "payer_payment", "line_paid"),
    ),
    ClaimField(
        "denial_reason_code",
        "code",
        "Claim adjustment reason code (CARC), with or without its group (CO, PR, OA, PI, CR).",
        ("denial_code", "carc", "carc_code", "denial_carc", "adjustment_reason_code", "reason_code",
         "claim_adjustment_reason_code", "denial_codes", "rejection_code", "adjustment_code"),
        ("denial_cd", "denial_reason_cd", "adj_reason_code", "carc_codes", "primary_denial_code"),
        max_length=50,
    ),
    ClaimField(
        "denial_reason_text",
        "text",
        "The payer's words for the denial.",
        ("denial_reason_description", "denial_description", "denial_reason_desc", "denial_text",
         "reason_description", "denial_message", "rejection_reason", "carc_description"),
        ("denial_reason", "reason", "denial_comment", "remarks"),
        max_length=2000,
    ),
    ClaimField(
        "authorization_required",
        "flag",
        "Whether the payer asked for prior authorisation.",
        ("auth_required", "prior_auth_required", "prior_authorization_required", "requires_authorization",
         "pa_required", "authorisation_required"),
    ),
    ClaimField(
        "authorization_number",
        "text",
        "Number of the prior authorisation.",
        ("auth_number", "auth_no", "prior_auth_number", "prior_authorization_number", "authorization_no",
         "pa_number", "auth_id", "authorisation_number"),
        ("authorization", "prior_auth"),
    ),
    ClaimField(
        "authorization_obtained",
        "flag",
        "Whether prior authorisation was obtained.",
        ("auth_obtained", "prior_auth_obtained", "prior_authorization_obtained", "has_authorization",
         "authorized", "authorisation_obtained"),
    ),
    ClaimField(
        "diagnosis_codes",
        "code",
        "Diagnosis codes (ICD-10), separated by a space.",
        ("diagnosis_code", "diagnosis", "diagnoses", "dx", "dx_code", "dx_codes", "icd10", "icd10_code",
         "icd10_codes", "icd_code", "icd_codes", "primary_diagnosis"),
        max_length=500,
    ),
    ClaimField(
        "units",
        "quantity",
        "Units of service.",
        ("unit", "service_units", "units_of_service", "unit_count", "qty", "quantity", "number_of_units"),
        ("days_or_units", "svc_units", "unit_of_service", "qty_billed", "billed_units"),
    ),
    ClaimField(
        "provider_npi",
        "code",
        "NPI of the provider.",
        ("npi", "rendering_npi", "rendering_provider_npi", "provider_npi_number", "npi_number"),
        ("billing_npi", "billing_provider_npi", "provider_id", "servicing_npi", "servicing_provider_npi",
         "performing_npi"),
    ),
    ClaimField(
        "facility",
        "text",
        "Where the service was given.",
        ("facility_name", "location", "clinic", "site", "service_location", "practice", "department"),
        ("place_of_service",),
        max_length=200,
    ),
)  # fmt: skip

#: The fields by name, in the order of the table `received_lines`.
FIELDS: dict[str, ClaimField] = {field.name: field for field in _ALL}


def header_key(header: str) -> str:
    """A header without case, spaces and punctuation: `Claim Status`, `claim_status` and `CLAIM-STATUS` are one.

    Neither do the signs of a trade mark count: the AMA asks for them beside CPT.
    """
    return re.sub(r"\((?:R|TM)\)|[\W_]+", "", header, flags=re.IGNORECASE).casefold()


def required_fields(*, no_cpt: bool) -> tuple[str, ...]:
    """Fields a file must have a column for; `cpt` only where the mapping does not say the source has none."""
    return tuple(field.name for field in _ALL if field.required and not (no_cpt and field.name == "cpt"))


def fields_of_kind(*kinds: Kind) -> tuple[str, ...]:
    """Names of the fields of these kinds, in table order."""
    return tuple(field.name for field in _ALL if field.kind in kinds)
