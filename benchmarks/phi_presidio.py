"""Runs Microsoft Presidio over texts, in an environment of its own that benchmarks/phi.py makes.

Reads a JSON list of texts from standard input, prints a list of lists of entity types; the argument names the language
model. Exit code 3 with a reason where its
language model cannot be had. Imports nothing of this project.
"""

from __future__ import annotations

import json
import sys

# What of Presidio's entities is a kind of personal data here; a date or a place alone is not.
WANTED = ["PERSON", "US_SSN", "PHONE_NUMBER", "EMAIL_ADDRESS", "US_ITIN"]


def main(model: str) -> int:
    """Exit code 0 with the answer, 3 without a model."""
    import spacy

    if not spacy.util.is_package(model):
        sys.stderr.write(f"the spaCy model {model}, of which its recognition of names is made, is not installed\n")
        return 3
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import NlpEngineProvider

    engine = NlpEngineProvider(
        nlp_configuration={"nlp_engine_name": "spacy", "models": [{"lang_code": "en", "model_name": model}]}
    ).create_engine()
    analyzer = AnalyzerEngine(nlp_engine=engine, supported_languages=["en"])
    found = [
        sorted({result.entity_type for result in analyzer.analyze(text=text, language="en", entities=WANTED)})
        for text in json.load(sys.stdin)
    ]
    json.dump(found, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
