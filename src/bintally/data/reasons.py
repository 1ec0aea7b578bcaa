"""The words check uses for what it finds, and what each one means to a person.

In a manifest a finding is `code` or `code:detail`, e.g. `truncated` or `near_duplicate:00042`; what stands after the
first colon is the other photo's id for all codes about two photos, and a few words for people otherwise.
"""

from typing import Final

import polars as pl

QUARANTINE: Final = {
    "missing": "the photo has gone since it was fetched",
    "changed": "the photo's bytes are not those that were fetched",
    "empty": "the file has no bytes",
    "not_a_photo": "the file is something else: a text, a PDF, a web page",
    "truncated": "the photo ends too early",
    "undecodable": "the photo is damaged",
    "too_large": "it claims more pixels or bytes than a bin camera gives: a decompression bomb",
    "decoder_crashed": "the decoder died of it or never came back",
    "absurd_size": "too small, too large or too long for a photo of a bin",
    "no_count": "nobody recorded a count",
    "record_malformed": "its count's record is no record, or has a quantity that is negative or no whole number",
    "duplicate": "the same bytes as an earlier photo with the same count",
    "contradicting_duplicate": "the same bytes as a photo with another count: one of the records is wrong",
}
"""Why a photo is set aside."""

WARNINGS: Final = {
    "wrong_extension": "its name promises another format",
    "dark": "very dark",
    "blurred": "out of focus, or nothing but a flat surface",
    "near_duplicate": "looks nearly the same as another photo",
    "near_duplicate_other_products": "looks nearly the same as a photo of a bin with other products",
    "count_differs": "its count is not the EXPECTED_QUANTITY of its record",
    "quantities_contradict": "its record's quantities don't add up to EXPECTED_QUANTITY: the count may be wrong",
    "record_missing": "its record has gone since it was fetched",
    "record_malformed": "its record can't be made sense of (its count came from elsewhere)",
}
"""What is odd about a photo that stays in."""


def code(finding: str) -> str:
    """`near_duplicate:00042` -> `near_duplicate`."""
    return finding.partition(":")[0]


def detail(finding: str) -> str:
    """`near_duplicate:00042` -> `00042`; empty where there is none."""
    return finding.partition(":")[2]


def tally(findings: pl.Series) -> dict[str, int]:
    """How many photos have each code; `findings` is a column of lists."""
    codes = pl.DataFrame({"found": findings}).with_row_index("row").explode("found").drop_nulls("found")
    counted = (
        codes.select("row", code=pl.col("found").str.split(":").list.first())
        .unique()
        .group_by("code")
        .len()
        .sort(["len", "code"], descending=[True, False])
    )
    return dict(counted.iter_rows())
