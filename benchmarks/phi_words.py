"""The words and texts of the labelled set of benchmarks/phi.py. Not here: how they are put together (phi_texts.py)."""

from __future__ import annotations

GIVEN = (
    "John", "Mary", "James", "Patricia", "Robert", "Linda", "Michael", "Elizabeth", "David", "Barbara",
    "William", "Susan", "Joseph", "Jessica", "Carlos", "Maria", "Nguyen", "Wei", "Aisha", "Omar", "Dmitri",
    "Olga", "Kwame", "Ngozi", "Priya", "Rajesh", "Yuki", "Hiroshi", "Siobhan", "Declan", "Chantal", "Thibault",
    "Xiomara", "Lakshmi", "Bartholomew", "Hope", "Grace", "Faith", "Summer", "Chase", "Grant", "Mark", "Will",
    "Rich", "Art", "Virginia", "Georgia", "Dakota", "Carolina", "Austin", "Houston", "Jackson",
)  # fmt: skip

FAMILY = (
    "Smith", "Johnson", "Williams", "Brown", "Jones", "Garcia", "Miller", "Davis", "Rodriguez", "Martinez",
    "Hernandez", "Lopez", "Nguyen", "Tran", "Patel", "Khan", "Kowalski", "Schmidt", "O'Brien", "O'Neil",
    "D'Angelo", "McDonald", "MacGregor", "Van-Dyke", "Garcia-Lopez", "Okonkwo", "Adeyemi", "Yamamoto",
    "Papadopoulos", "Zielinski", "Bishop", "Church", "Banks", "Price", "Best", "Long", "Short", "Young",
    "Rivers", "Fields", "Stone", "Marsh", "Wells", "Cross", "Field", "Hill", "Ford",
)  # fmt: skip

COMPOUND_FAMILY = (
    "De La Cruz", "Van Der Berg", "St. James", "Del Rio", "Mc Donald", "Von Trapp",
)  # fmt: skip

BRANDS = (
    "Aetna", "Aetna Better Health", "Anthem", "Blue Cross", "Blue Shield", "Blue Cross Blue Shield", "BCBS",
    "Cigna", "Cigna HealthSpring", "Humana", "Kaiser Permanente", "Kaiser Foundation Health Plan",
    "Molina Healthcare", "Centene", "UnitedHealthcare", "UHC Community Plan", "Optum", "Harvard Pilgrim",
    "Tufts Health Plan", "Geisinger", "Highmark", "Martin's Point", "St. John Health Plan",
    "St. Luke's Health Plan", "John Hancock", "Prudential", "Medica", "Medicare Part B", "Medicaid",
    "Tricare East", "Oscar", "Ambetter", "Wellcare", "Bright Health", "Sierra Health", "Scott and White",
    "Baylor Scott & White", "Providence", "Premera", "Regence", "SelectHealth", "Sentara", "CareSource",
    "Meridian", "Amerigroup", "Horizon", "Fidelis Care", "Emblem", "Healthfirst", "Mercy Care", "Banner",
    "Intermountain", "Lincoln Financial", "Mutual of Omaha", "Gallagher Bassett", "Sedgwick", "Liberty Mutual",
    "State Farm", "Travelers", "Hartford", "Meritain", "Jefferson Health Plans", "Madison National",
    "Washington National", "Johns Hopkins Health Plans", "Henry Ford Health", "Allen Medical Plan",
    "Marion Polk Community Health", "Dean Health Plan", "Gunderson", "Quartz", "Paramount", "McLaren",
    "Presbyterian",
)  # fmt: skip

TAILS = (
    "Inc", "Inc.", "LLC", "Incorporated", "Corp.", "A Division of Centene", "Commercial", "HMO", "PPO",
    "Medicare Advantage", "Select", "Gold", "Silver 70", "Better Health", "Local 472", "Part A",
    "Northern California", "Virginia", "Texas", "New York", "TX", "FL", "Mid-Atlantic", "Southwest",
    "Blue Choice", "Dual Complete", "Choice Plus", "Open Access", "Family Care", "Community Plan",
    "Claims Department", "Attn Claims", "Workers Comp", "Auto", "Dental", "Vision", "Behavioral Health",
    "Secondary", "Primary", "Student", "Employees", "Union", "Teamsters", "Trust", "Fund", "Administrators",
    "Third Party", "Out Of Network", "Self Funded",
)  # fmt: skip

DENIALS = (

    "The benefit for this service is included in the payment/allowance for another service that has already been adjudicated.",
    "Claim/service lacks information or has submission/billing error(s), Missing Modifier.",
    "These are non-covered services because this is not deemed a medical necessity by the payer.",
    "Denied, Timely Filing", "Timely Filing, Limit Exceeded", "Non-covered, Experimental",
    "Experimental, Investigational", "Prior Authorization Required, Contact Payer",
    "Referral Absent, Specialist Visit", "Bundled, Column Two Code",
    "Coordination Of Benefits, Other Insurance Primary", "Not Medically Necessary, Records Requested",
    "Deductible, Coinsurance, Copay", "Patient Responsibility, Deductible", "Member, Not Eligible",
    "Provider, Out Of Network", "Coverage, Terminated", "Maximum Benefit, Reached",
    "Diagnosis, Procedure Mismatch", "Invalid Place Of Service, Corrected Claim Needed",
    "DENIED, LACKS DOCUMENTATION", "DUPLICATE, PREVIOUSLY PAID", "PENDING, MEDICAL REVIEW", "APPEAL, UPHELD",
    "MODIFIER, INVALID", "BENEFITS, EXHAUSTED", "SERVICE, EXCLUDED", "NONCOVERED, COSMETIC",
    "Recoupment, Overpayment", "Patient, Newborn", "Patient cannot be identified as our insured.",
    "Our records indicate the patient is not an eligible dependent.",
    "Expenses incurred after coverage terminated.", "Payment adjusted, Rendering Provider not certified",
    "Remark N290: Missing/incomplete/invalid rendering provider primary identifier.",
    "Per LCD L34538, Frequency Limitation", "Hospice, Unrelated", "Workers Compensation, Primary Liability",
    "Capitation, Contract Rate", "Ambulance, Origin Modifier",
)  # fmt: skip

# Written after all others and never tuned to: how the detector does on what it was not made for.
UNSEEN_DENIALS = (
    "Lesser of billed, Usual And Customary", "Sequestration, Two Percent", "Multiple Surgery Rules, Half Rate",
    "NCCI Edit, Pair Conflict", "Sleep Study, Home Setting Preferred", "Hold, Awaiting Attachment",
    "Split Claim, Rebill Required", "Medicare Secondary, Spouse Working", "Biologic, Step Therapy First",
    "Tooth Number, Surface", "Out Of State, Emergency Only", "Vendor, Carved Out", "Interest, Prompt Pay",
    "Void, Sent In Error", "Claim Spans, Calendar Years", "Birthday Rule, Father Primary",
    "Ordering Physician, Deceased", "Pricing, Manual Review", "Stop Loss, Threshold Met",
    "Swing Bed, Days Used", "Readmission, Within Thirty Days", "CLIA, Waived Test", "HCPCS, Deleted Code",
    "Courtesy Adjustment, Write Off", "Legal Hold, Subrogation", "Cardiology, Consult Missing",
    "Weekend, Elective",
)  # fmt: skip

UNSEEN_PAYERS = (
    "Oxford, Liberty", "EmblemHealth, GHI", "MVP, Essential", "Capital District, Hudson",
    "Independence, Keystone East", "Pacificare, Secure Horizons", "HealthPartners, Distinctions",
    "Avera, Sioux Falls", "Security Health, Marshfield", "Priority, Spectrum", "Passport, Louisville",
    "Peach State, Atlanta", "Buckeye, Ohio Rise", "Superior, Chip", "Coordinated Care, Apple",
    "Trillium, Eugene", "Magnolia, Jackson", "Sunshine, Miami", "Home State, Missouri",
    "Absolute Total Care, Columbia", "Nationwide, Pets", "Zurich, Farmers", "Broadspire, Crawford",
    "Corvel, Genex", "UMR, Wausau", "HealthSmart, Accel", "Allegiance, Missoula", "GEHA, Elevate",
    "MHBP, Coventry", "NALC, Consumer",
)  # fmt: skip

NUMBERED = (
    "Duplicate of claim {ten}", "Duplicate of ICN {thirteen}", "NPI {ten} not enrolled on date of service",
    "Rendering NPI {ten}, Taxonomy mismatch", "CPT {cpt} bundled into {cpt}",
    "CPT {cpt}-25, Modifier inconsistent", "DOS {us} outside of coverage",
    "Date of service {iso} after termination {iso}", "Auth {nine} expired {us}",
    "Authorization number {ten} not on file", "Check {nine} dated {us}",
    "Original claim {claim} finalized {us}", "Filing limit 90 days from {us}", "TIN {ein} inactive",
    "Denial code CO-{two}, remark M{two}", "Fee schedule {year}, Region {two}",
    "Call provider services 1-800-{three}-{four}", "Questions: (888) {three}-{four}",
    "Units {two} exceed MUE {two}", "Policy {cpt}.{two} section 4, Table 2", "Case {nine} closed",
    "Batch {ten}", "Paid {us} amount 1,234.56", "Medical record request {ten} sent {us}",
    "Patient {two} of {two} visits used",
)  # fmt: skip

CONTEXT = (
    "{}", "{} not eligible on date of service", "No coverage found for {}", "Denied: {} - coverage terminated",
    "COB needed ({})", "Records for {} not received; resubmit", "Contact {} regarding other insurance",
    "{}; authorization missing",
)  # fmt: skip

NAMES = (
    "Family, Given", "Family, Given I", "Family, Given I. Jr.", "Family Jr, Given", "Family,Given",
    "Two Words, Given", "Family^Given", "Given I. Family Jr.", "Given Family Jr.", "Mr. Given Family",
    "Given I. Family", "Given Family",
)  # fmt: skip
