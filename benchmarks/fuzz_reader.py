"""Fuzzes the reader with Atheris (libFuzzer) for some seconds: coverage-guided bytes, the corpus in memory alone.

    pip install atheris        # Linux and macOS; not part of the lock files
    python benchmarks/fuzz_reader.py --seconds 60

Every input has to end as loaded or refused (FileRefusedError), with rows = accepted + rejected; anything else ends the run
with the input in hexadecimal. The first byte chooses what surrounds the others: nothing, a header and a row, an archive, a
mapping without header. Only this project's modules are instrumented. Not part of the suite: the tests in
unit/test_reader_fuzz.py are bounded and need nothing installed.
"""

from __future__ import annotations

import argparse
import gzip
import io
import sys
import tempfile
from dataclasses import replace
from datetime import date

try:
    import atheris
except ImportError:
    sys.exit("Atheris is not installed: pip install atheris")

with atheris.instrument_imports(include=["upstream_pipelines"]):
    from upstream_pipelines.claims.judge import Judge
    from upstream_pipelines.claims.mapping import ClaimMapping
    from upstream_pipelines.errors import FileRefusedError
    from upstream_pipelines.ingest.csv_reader import open_csv
    from upstream_pipelines.ingest.remittance_reader import open_remittance

TODAY = date(2026, 11, 24)
HEADER = b"claim_id,payer,cpt,submitted_date,decided_date,outcome,allowed_amount\n"
ROW = b"C1,Aetna,99213,2026-01-05,2026-02-01,Paid,100.50\n"
ISA = b"ISA*00*          *00*          *ZZ*SENDER         *ZZ*RECEIVER       *260203*0330*^*00501*000000001*0*P*:~"
PLAIN = ClaimMapping()
NUMBERED = ClaimMapping(no_header=True, no_cpt=True, columns={"payer": 1, "submitted_date": 2, "outcome": 3})
JUDGES = {mapping.no_header: Judge(mapping, TODAY) for mapping in (PLAIN, NUMBERED)}
WAYS = 6


def read(data: bytes) -> tuple[int, int, int]:
    """Rows, accepted, rejected of one input; (0, 0, 0) where it is refused."""
    way, rest = (data[0] % WAYS, data[1:]) if data else (0, b"")
    content, mapping = rest, PLAIN
    if way == 1:
        content = HEADER + ROW + rest
    elif way == 2:
        content = gzip.compress(HEADER + ROW + rest, 1)
    elif way == 3:
        content = (HEADER + ROW + rest).decode("latin-1").encode("utf-16")
    elif way == 4:
        mapping = NUMBERED
    # One judge a mapping: building it takes longer than judging a few rows. Its counts go on, so the difference counts.
    judge = JUDGES[mapping.no_header]
    before = replace(judge.counters())
    try:
        source = (
            open_remittance(io.BytesIO(ISA + rest), TODAY) if way == 5 else open_csv(io.BytesIO(content), mapping)
        )
        for block in source.blocks(3):
            judge.judge(block)
    except FileRefusedError:
        return 0, 0, 0
    after = judge.counters()
    return after.rows - before.rows, after.accepted - before.accepted, after.rejected - before.rejected


def main() -> None:
    parser = argparse.ArgumentParser(description="Fuzz the reader.")
    parser.add_argument("--seconds", type=int, default=60)
    seconds = parser.parse_args().seconds
    # What fails is written to the folder for temporary files as well; libFuzzer reports how many inputs there were.
    options = [
        f"-max_total_time={seconds}",
        "-max_len=4096",
        "-len_control=0",
        f"-artifact_prefix={tempfile.gettempdir()}/",
    ]
    atheris.Setup([sys.argv[0], *options], one)
    atheris.Fuzz()


def one(data: bytes) -> None:
    try:
        rows, accepted, rejected = read(data)
        assert rows == accepted + rejected, (rows, accepted, rejected)
    except BaseException:
        print(f"input: {data.hex()}")
        raise


if __name__ == "__main__":
    main()
