"""What a reader has to get right in the field cases: words that its text must have, and words that it must not have."""

from __future__ import annotations

from dataclasses import dataclass

from embedder_assets.settings import PROJECT_ROOT

SHARED = PROJECT_ROOT.parent / "shared"
FIELD_CASES = SHARED / "field-cases"
ASVS = SHARED / "data" / "docs" / "asvs-5.0"


@dataclass(frozen=True)
class Case:
    """A file below ``FIELD_CASES``, and what is right; spaces and line ends in the text count as one space."""

    file: str
    has: tuple[str, ...]
    lacks: tuple[str, ...] = ()


CASES = (
    Case("html-accordion/input/faq.html", ("Can I change the billing currency later?", "single sign-on?")),
    Case(
        "html-docx-table-spans/input/spec.html",
        ("| Cable B | DVI | 5 m |", "| Cable A | USB-A\\|USB-C | 2 m |"),
    ),
    Case("html-docx-table-spans/input/stock.docx", ("| 7 |", "| Fuse | North")),
    Case("html-head-end-tag-omitted/input/no-head-end.html", ("# Colour codes", "pressure is too high")),
    Case("html-head-end-tag-omitted/input/no-head-end-no-body.html", ("# Amber codes", "check the filter")),
    Case("html-heading-outside-main/input/retention.html", ("Log retention policy", "kept for seven years")),
    Case("html-heading-outside-main/input/nav-heading.html", ("every ninety days",), ("Menu", "Home")),
    Case("html-label-gb2312/input/duty.html", ("\u503c\u73ed\u624b\u518c",)),
    Case("html-superscript/input/limits.html", ("10^6", "10^-3", "m^2"), ("note12", "23 years")),
    Case("html-superscript/input/pump.docx", ("10^6", "10^-3", "m^2")),
    Case("html-text-as-markup/input/columns.html", ("\\# of seats",)),
    Case("html-text-as-markup/input/xss.html", ("## Defence in headers",), (" <script>",)),
    Case("html-text-as-markup/input/comments.html", ("## Nesting comments",), (" <!--",)),
    Case("docx-equations/input/beam.docx", ("q l^2 / 8", "M / W")),
    Case("md-base64/input/minutes.md", ("Nobody objected",), (";base64,c6m",)),
    Case("md-front-matter-title/input/rotate.md", ("every ninety days",), ("weight",)),
    Case(
        "md-heading-marks/input/ids.md",
        ("# Upgrading the cluster", "Rolling back a failed upgrade", "Both are booleans"),
    ),
    Case("pdf-form-values/input/leave.pdf", ("M. Sample", "Removal to Bergen in October")),
    Case("pdf-form-values/input/hall.pdf", ("Exit B is blocked until June",)),
    Case("pdf-hyphenated-words/input/hyph.pdf", ("well-known", "state-of-the-art", "maintenance"), ("wellknown",)),
    Case("pdf-invoices-and-quiz/input/invoices.pdf", ("Invoice 4151", "Total: 570.00 EUR")),
    Case("pdf-invoices-and-quiz/input/quiz.pdf", ("Question 3", "Answer: 24")),
    Case(
        "rst-sphinx-options/input/guide.rst",
        ("heartbeat=17", "turbinectl stop", "b = 1 - s_{target}", "Never restart both nodes"),
        (":figwidth:", ":linenos:"),
    ),
    Case(
        "rst-sphinx-options/input/options.rst",
        ("heartbeat=17", "Never restart both nodes", "b = 1 - s", "Lock the panel first"),
        (":collapsible:", ":linenos:"),
    ),
)


def problems(case: Case, text: str) -> list[str]:
    """What is wrong with a text; the heading marks of a case may be of any level."""
    flat = " ".join(text.split())
    missing = [f"lacks {words!r}" for words in case.has if words.lstrip("# ") not in flat.replace("\\_", "_")]
    return missing + [f"has {words!r}" for words in case.lacks if words in f" {flat}"]
