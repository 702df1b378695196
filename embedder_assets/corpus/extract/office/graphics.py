"""Charts and diagrams (SmartArt) of Office files as rows and lines of text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from embedder_assets.corpus.extract.office.package import Package, texts


@dataclass(frozen=True)
class Chart:
    """What a chart shows: its title, and a table with a column per series, whose first row is the header."""

    title: str
    rows: list[list[str]]


def read_chart(package: Package, part: str) -> Chart:
    """The values that a chart keeps of the cells that it was made from."""
    root = package.plain_xml(part)
    title = texts(root.findall("./chart/title//t") or root.findall("./chart/title//v"))
    series = [
        (texts(each.findall("./tx//v")), _points(each, ("cat", "xVal")), _points(each, ("val", "yVal")))
        for each in root.iter("ser")
    ]
    if not series:
        return Chart(title, [])
    order = list(dict.fromkeys(at for _, categories, values in series for at in (*categories, *values)))
    categories = next((found for _, found, _ in series if found), {})
    header = ["", *(name for name, _, _ in series)]
    rows = [[categories.get(at, ""), *(values.get(at, "") for _, _, values in series)] for at in order]
    return Chart(title, [header, *rows])


def _points(series: Element, names: tuple[str, ...]) -> dict[str, str]:
    found = (point for name in names for point in series.findall(f"./{name}//pt"))
    return {point.get("idx", ""): texts(point.findall("v")) for point in found}


def read_diagram(package: Package, part: str) -> list[str]:
    """The texts of the shapes of a diagram, in their order."""
    return list(_diagram_lines(package.plain_xml(part)))


def _diagram_lines(root: Element) -> Iterator[str]:
    for point in root.iter("pt"):
        for paragraph in point.iterfind("./t/p"):
            if text := " ".join("".join(run.text or "" for run in paragraph.iter("t")).split()):
                yield text


def read_odf_chart(chart: Element) -> Chart:
    """The same of a chart of OpenDocument, which has the cells as a table."""
    title = texts(chart.findall("./title//p"))
    rows = [[texts(cell.iter("p")) for cell in row.iterfind("table-cell")] for row in chart.iter("table-row")]
    return Chart(title, [row for row in rows if any(row)])
