"""The quality rules as data: name, fields, severity, dimension, what is wrong, why it matters.

Not here: how a rule is evaluated (checks.py), what a customer changed (claims/mapping.py). Imports
nothing heavy, so that a configuration can be checked without pandas.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

Severity = Literal["error", "warning", "info"]
Grade = Literal["error", "warning", "info", "off"]
Dimension = Literal["completeness", "validity", "consistency", "uniqueness", "timeliness"]


@dataclass(frozen=True)
class Rule:
    """One rule. `reason` is the fixed text a rejected row gets; it never holds a value of the row."""

    name: str
    fields: tuple[str, ...]
    severity: Severity
    dimension: Dimension
    description: str
    why: str
    reason: str
    #: Whether the reader of the source finds it (RawBlock.noted); the others are checks of typed columns.
    noted: bool = False


#: The default rules: a customer can switch off or re-grade each (but see FIXED_ERRORS).
DEFAULT_RULES: tuple[Rule, ...] = (
    Rule(
        "payer_present", ("payer",), "error", "completeness",
        "The payer is filled.",
        "Everything is watched per payer.",
        "The payer is empty. Fill it in the source.",
    ),
    Rule(
        "cpt_present", ("cpt",), "error", "completeness",
        "The procedure code is filled.",
        "Prices and procedure mix are compared by code.",
        "The procedure code is empty. Fill it, or set no_cpt in the mapping if this source has none.",
    ),
    Rule(
        "submitted_date_present", ("submitted_date",), "error", "completeness",
        "The submitted date is filled.",
        "A decision's age counts from this day.",
        "The submitted date is empty. Fill it in the source.",
    ),
    Rule(
        "decided_date_present", ("decided_date",), "error", "completeness",
        "The decided date is filled, unless the line is pending.",
        "A decision without a day belongs to no period.",
        "The line is not pending and has no decided date. Fill it, send the line as pending, or name the column's header under columns in the mapping.",
    ),
    Rule(
        "outcome_present", ("outcome",), "error", "completeness",
        "The outcome is filled.",
        "The denial rate counts outcomes.",
        "The outcome is empty. Fill it with paid, denied or pending.",
    ),
    Rule(
        "cpt_form", ("cpt",), "warning", "validity",
        "The procedure code has the form of a CPT or HCPCS code: five digits, four digits and a letter, or a "
        "letter and four digits.",
        "A malformed code starts a price history of its own.",
        "The procedure code has not the form of a CPT or HCPCS code. Correct it in the source.",
    ),
    Rule(
        "denial_code_form", ("denial_reason_code",), "warning", "validity",
        "The denial code has the form of a CARC, with or without its group: 197, B7, CO-45.",
        "Contractual adjustments and authorisation denials are told by this code.",
        "The denial code has not the form of a CARC. Send codes such as CO-45 or 197.",
    ),
    Rule(
        "allowed_amount_range", ("allowed_amount",), "warning", "validity",
        "The allowed amount lies between 0 and 1,000,000.",
        "One misplaced decimal point outweighs a month of prices.",
        "The allowed amount lies outside 0 to 1,000,000. Check the decimal point.",
    ),
    Rule(
        "decided_on_or_after_submitted", ("decided_date",), "error", "consistency",
        "The claim was decided on or after the day it was submitted.",
        "A negative decision lag makes the payer look faster than it is.",
        "The decided date lies before the submitted date. Check which column holds which date.",
    ),
    Rule(
        "no_future_date", ("service_date", "submitted_date", "decided_date", "payment_date"), "error", "timeliness",
        "No date lies in the future.",
        "A date in the future is a day and month exchanged, or a planned payment; neither has happened.",
        "The date lies in the future. Check the order of day and month (date_order in the mapping).",
    ),
    Rule(
        "phi_in_payer", ("payer",), "error", "validity",
        "The payer is no person and holds no personal data (SSN, MRN, member id, phone, e-mail, a date, person name).",
        "Payer names appear in alerts, charts and reports.",
        "The payer holds what looks like personal data. Check whether the columns are shifted.",
    ),
    Rule(
        "phi_in_denial_text", ("denial_reason_text",), "warning", "validity",
        "The denial text holds no personal data (SSN, MRN, member id, phone, e-mail, date of birth, person name).",
        "Denial texts are shown to people who need not know the patient.",
        "The denial text holds what looks like personal data. Remove it in the source.",
    ),
    Rule(
        "outcome_known", ("outcome",), "warning", "validity",
        "The outcome is a word this product or the mapping knows.",
        "An unknown word is counted as OTHER: neither paid nor denied.",
        "The outcome is not a known word and was read as OTHER. Add the word to outcomes in the mapping.",
    ),
    Rule(
        "denied_has_reason_code", ("denial_reason_code",), "warning", "completeness",
        "A denied line has a denial code.",
        "Without the code a contractual adjustment cannot be told from a denial.",
        "The line is denied and has no denial code. Send the CARC of the denial.",
    ),
)  # fmt: skip

#: Beyond the default fourteen, on optional fields: never more than a warning by default.
FURTHER_RULES: tuple[Rule, ...] = (
    Rule(
        "service_on_or_before_submitted", ("service_date",), "warning", "consistency",
        "The service was given on or before the day the claim was submitted.",
        "A service after its claim is a wrong date or a wrong column.",
        "The service date lies after the submitted date. Check which column holds which date.",
    ),
    Rule(
        "payment_on_or_after_decided", ("payment_date",), "warning", "consistency",
        "The payment was made on or after the day of the decision.",
        "A payment before its decision is a wrong date or a wrong column.",
        "The payment date lies before the decided date. Check which column holds which date.",
    ),
    Rule(
        "phi_in_facility", ("facility",), "warning", "validity",
        "The facility holds no personal data (SSN, MRN, member id, phone, e-mail, date of birth, person name).",
        "Facilities are named in alerts, charts and reports; such a name is withheld there.",
        "The facility holds what looks like personal data. Check whether the columns are shifted.",
    ),
    Rule(
        "payer_spelling", ("payer",), "warning", "consistency",
        "The payer is not another spelling of a known one.",
        "Two spellings of a payer are two payers: neither has enough lines, and a renamed one seems to stop.",
        "The payer looks like a known one spelled otherwise. `upstream customers aliases SLUG` suggests the alias.",
        noted=True,
    ),
)  # fmt: skip

#: Of remittances (X12 835), told by their reader: no other source has what they look at.
REMITTANCE_RULES: tuple[Rule, ...] = (
    Rule(
        "submitted_date_sent", ("submitted_date",), "warning", "completeness",
        "The remittance says when the payer received the claim (DTM*050).",
        "Without it the day of service stands in, and the payer looks slower than it is.",
        "The remittance does not say when the claim was received; the day of service stands in.",
        noted=True,
    ),
    Rule(
        "remittance_balances", ("paid_amount",), "warning", "consistency",
        "Billed less all adjustments is what was paid, of the claim and of the line.",
        "A remittance that does not balance has lost an adjustment or an amount.",
        "Billed less adjustments is not what was paid. Ask the payer for the missing adjustment.",
        noted=True,
    ),
    Rule(
        "remittance_counts", ("claim_id",), "warning", "consistency",
        "The transaction holds as many segments as its end (SE) says, and the same control number.",
        "A wrong count is what a transaction has that lost segments on its way. It is told on its last claim.",
        "The count or the control number at the transaction's end (SE) is wrong. Compare it with the sender's file.",
        noted=True,
    ),
    Rule(
        "remittance_dates", ("decided_date",), "warning", "validity",
        "Payment date (BPR16) and production date (DTM*405) are days of the calendar.",
        "The day of the decision comes from the other of them.",
        "The remittance's payment or production date is no date; the other one was taken. Ask the payer about it.",
        noted=True,
    ),
    Rule(
        "payment_made", ("payment_date",), "info", "timeliness",
        "The payment's day has come.",
        "Transfers are announced some days ahead; until then nothing was paid.",
        "The payment's day lies ahead; the payment date was left empty.",
        noted=True,
    ),
    Rule(
        "component_separator", ("cpt",), "warning", "validity",
        "Procedures are parted by the separator that their interchange names (ISA16).",
        "What parts code and modifiers had to be told from the qualifier.",
        "The procedure is not parted by the separator of its interchange. Tell the sender.",
        noted=True,
    ),
)  # fmt: skip

#: What a cell must be before any rule can look at it. Not gradable: such a value cannot be stored as what
#: it claims to be. Dates, amounts and line numbers decide identity, time and money, so the row is
#: rejected; units and flags are extras, so the row is kept, the cell emptied and a warning counted. Rows that
#: are no claim lines are set apart like rejected ones, and are no fault of the file.
READING_RULES: tuple[Rule, ...] = (
    Rule(
        "row_shape", ("row",), "error", "validity",
        "The row has as many cells as the header.",
        "In a ragged row a value may stand under the wrong header.",
        "The row has more or fewer cells than the header, or a quote that is never closed took further lines into it. Quote "
        "cells that hold the delimiter, and double the quotes within them.",
    ),
    Rule(
        "claim_line", ("row",), "info", "validity",
        "The row is a claim line.",
        "Exports repeat their header from page to page and end with totals.",
        "The row repeats the header, or is a total or a note: no claim line. It was set apart; nothing has to be done.",
    ),
    Rule(
        "id_written_in_full", ("claim_id", "cpt"), "error", "validity",
        "Claim numbers and procedure codes are written with all their digits.",
        "A spreadsheet writes 1.23457E+11 for a thousand claim numbers; they would be taken for one claim.",
        "The number was rounded by a spreadsheet (as in 1.2E+11). Format the column as text before the export.",
    ),
    Rule(
        "code_written_in_full", (), "warning", "validity",
        "Codes and numbers are written with all their digits.",
        "A rounded NPI is another provider's.",
        "The number was rounded by a spreadsheet (as in 1.2E+09) and was left empty. Format the column as text before the export.",
    ),
    Rule(
        "text_form", (), "error", "validity",
        "Texts and codes are plain text of a bounded length.",
        "An overlong cell or one with control characters is a damaged row.",
        "The cell is too long for its field, is not plain text or holds control characters. Check the quoting.",
    ),
    Rule(
        "date_form", (), "error", "validity",
        "Dates are calendar days from 1970 on with a four-digit year.",
        "A date that is guessed moves a claim to another period.",
        "The cell is not a date with a four-digit year, or not a day of the calendar. Write it as YYYY-MM-DD.",
    ),
    Rule(
        "date_order_known", (), "error", "validity",
        "The order of day and month is known.",
        "04/05/2026 is two different days.",
        "The date can be read with the day or the month first. Set date_order in the mapping: MDY if 03/04 is 4 March, DMY if 3 April.",
    ),
    Rule(
        "amount_form", (), "error", "validity",
        "Amounts are numbers below 1,000,000,000,000.",
        "An amount that is guessed changes a price.",
        "The cell is not an amount. Write amounts as 1234.56.",
    ),
    Rule(
        "amount_not_negative", (), "error", "validity",
        "Amounts are zero or more.",
        "A reversal is a correction of its claim line, not a claim line with a negative price.",
        "The amount is negative. Send the corrected line with its final amounts.",
    ),
    Rule(
        "line_number_form", ("line_number",), "error", "validity",
        "The line number is a whole number.",
        "The line number is part of the line's identity.",
        "The line number is not a whole number of at most nine digits. Correct it in the source.",
    ),
    Rule(
        "units_form", ("units",), "warning", "validity",
        "Units are a number between 0 and 999,999,999.",
        "Prices are compared per unit.",
        "The units are not a number and were left empty. Correct them in the source.",
    ),
    Rule(
        "flag_form", ("authorization_required", "authorization_obtained"), "warning", "validity",
        "Flags are yes or no.",
        "An unclear flag says nothing about authorisation.",
        "The flag is neither yes nor no and was left empty. Write yes or no.",
    ),
    Rule(
        "service_code_sent", ("cpt",), "error", "validity",
        "A service of a remittance has a procedure code behind its qualifier (SVC01).",
        "Where the code is missing the elements are shifted, and no amount can be trusted.",
        "The service (SVC) has no procedure code behind its qualifier. Ask the sender for a corrected remittance.",
        noted=True,
    ),
    Rule(
        "service_amounts_sent", ("billed_amount",), "error", "validity",
        "A service of a remittance says what was billed (SVC02).",
        "Without it neither the price nor the denial can be told.",
        "The service (SVC) does not say what was billed. Ask the sender for a corrected remittance.",
        noted=True,
    ),
    Rule(
        "adjustments_readable", ("denial_reason_code",), "error", "validity",
        "Adjustments (CAS) have a group, a reason code and an amount.",
        "Whether a line was denied is told by them.",
        "An adjustment (CAS) has no group, reason code or amount. Ask the sender for a corrected remittance.",
        noted=True,
    ),
)  # fmt: skip

VOLUME, EMPTY, OUTCOME_MIX, KNOWN = "usual_volume", "usual_empty_fields", "usual_outcomes", "usual_known_rows"

#: Of an upload as a whole, beside the customer's earlier ones of the same source (usual.py says what is usual).
STREAM_RULES: tuple[Rule, ...] = (
    Rule(
        VOLUME, (), "warning", "completeness",
        "An upload holds about as many rows as uploads of this source usually do.",
        "Half a file loads without a complaint, and every payer seems to get fewer claims.",
        "The upload holds far fewer or more rows than usual. Look whether the export was cut off, or covers other days.",
        noted=True,
    ),
    Rule(
        EMPTY, (), "warning", "completeness",
        "No field is empty far more often than it usually is.",
        "A column that was renamed or is no longer filled is missing from every figure that needs it.",
        "A field is empty far more often than usual. Look whether its column was renamed, moved or is no longer exported.",
        noted=True,
    ),
    Rule(
        OUTCOME_MIX, ("outcome",), "warning", "consistency",
        "Paid, denied, pending and other lines have about their usual shares.",
        "A filter in the export, or a word that is read otherwise, looks like a payer that changed.",
        "The shares of the outcomes are far from usual. Look at the export's filters and at the words it uses for outcomes.",
        noted=True,
    ),
    Rule(
        KNOWN, (), "warning", "uniqueness",
        "No far larger share of the rows than usual was known already.",
        "A file that was sent before stands in the place of one that is missing.",
        "Far more rows than usual were known already. Look whether an old file was sent again and the new one is missing.",
        noted=True,
    ),
)  # fmt: skip

GRADABLE_RULES = DEFAULT_RULES + FURTHER_RULES + REMITTANCE_RULES + STREAM_RULES
RULES: dict[str, Rule] = {rule.name: rule for rule in READING_RULES + GRADABLE_RULES}

#: These guard columns that hold no NULL; a row that fails them cannot be stored at all.
FIXED_ERRORS = frozenset({"payer_present", "cpt_present", "submitted_date_present", "outcome_present"})

#: Told of rows that are stored already, so none of them can be rejected by it.
NEVER_ERRORS = frozenset({"payer_spelling", *(rule.name for rule in STREAM_RULES)})


def active_rules(grades: Mapping[str, Grade]) -> tuple[Rule, ...]:
    """The gradable rules as a customer wants them: re-graded, and without those switched off."""
    return tuple(
        rule if rule.name not in grades else replace(rule, severity=grade)
        for rule in GRADABLE_RULES
        if (grade := grades.get(rule.name, rule.severity)) != "off"
    )
