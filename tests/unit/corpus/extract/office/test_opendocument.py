"""Texts, presentations and spreadsheets of OpenDocument."""

from __future__ import annotations

from tests.support.corpora.extraction import issue
from tests.support.corpora.office import odf_file

META = (
    "<dc:title>Limits</dc:title><dc:language>de-DE</dc:language><meta:initial-creator>Ada</meta:initial-creator>"
    "<meta:creation-date>2024-01-02T03:04:05.123456</meta:creation-date><dc:date>2024-02-03T04:05:06</dc:date>"
    "<meta:keyword>pump</meta:keyword><meta:keyword>valve</meta:keyword><dc:description>Of pumps</dc:description>"
)
STYLES = (
    '<style:style style:name="Sup" style:family="text"><style:text-properties style:text-position="super 58%"/>'
    '</style:style><style:style style:name="Hid" style:family="text"><style:text-properties text:display="none"/>'
    '</style:style><style:style style:name="Gone" style:family="table"><style:table-properties table:display="false"/>'
    '</style:style><style:style style:name="Off" style:family="drawing-page"><style:drawing-page-properties '
    'presentation:visibility="hidden"/></style:style>'
)


def line(content: str) -> str:
    return f"<text:p>{content}</text:p>"


def heading(text: str, level: int) -> str:
    return f'<text:h text:outline-level="{level}">{text}</text:h>'


def row(*cells: str) -> str:
    return f"<table:table-row>{''.join(cells)}</table:table-row>"


def cell(text: str, attributes: str = "") -> str:
    return f"<table:table-cell {attributes}>{line(text)}</table:table-cell>"


def value(kind: str, shown: str, **stated: str) -> str:
    given = " ".join(f'office:{name.replace("_", "-")}="{each}"' for name, each in stated.items())
    return cell(shown, f'office:value-type="{kind}" {given}')


def text_file(body: str, **options: str | bytes) -> bytes:
    return odf_file("text", body, styles=STYLES, **options)


def test_text_becomes_markdown(extract):
    items = "<text:list><text:list-item>{}</text:list-item></text:list>".format
    body = (
        heading("Limits", 1)
        + line("Some<text:s text:c='2'/>words<text:line-break/>and <text:a xlink:href='http://e.org'>more</text:a>")
        + heading("Deep", 9)
        + items(line("one") + items(line("inner")))
    )
    found = extract(".odt", text_file(body, meta=META))
    assert found.text.startswith("# Limits\n\nSome words")
    assert "[more](http://e.org)\n\n###### Deep\n\n- one\n" in found.text
    assert found.text.endswith("  - inner\n")
    assert found.title == "Limits"
    assert found.metadata == {
        "language": "de-DE",
        "created": "2024-01-02T03:04:05",
        "modified": "2024-02-03T04:05:06",
        "keywords": ["pump", "valve"],
        "description": "Of pumps",
        "author": "Ada",
    }


def test_empty_part_of_settings_does_no_harm(extract):
    settings = {"Configurations2/accelerator/current.xml": ""}  # as LibreOffice writes it
    assert extract(".odt", text_file(line("words"), **settings)).text == "words\n"


def test_notes_and_boxes_stand_behind_their_place(extract):
    note = "<text:note><text:note-citation>1</text:note-citation><text:note-body>{}</text:note-body></text:note>"
    box = "<draw:frame><draw:text-box>{}</draw:text-box></draw:frame>"
    body = line(f"Open{note.format(line('In May.'))} daily{box.format(line('In the box'))} or not") + line("Next")
    assert extract(".odt", text_file(body)).text == ("Open[1] daily or not\n\nIn the box\n\nNext\n\n1. In May.\n")


def test_what_is_not_shown_is_named(extract):
    body = (
        "<text:tracked-changes><text:changed-region><text:deletion><text:p>gone</text:p></text:deletion>"
        "</text:changed-region></text:tracked-changes>"
        + line("a<office:annotation><text:p>Really?</text:p></office:annotation>")
        + line('b<text:span text:style-name="Hid">c</text:span>')
        + line('<draw:frame><draw:image xlink:href="x.png"/></draw:frame>')
        + line('<draw:frame><draw:image xlink:href="y.png"/><svg:desc>A red pump</svg:desc></draw:frame>')
        + line('<draw:frame><draw:object-ole xlink:href="./Object 7"/></draw:frame>')
        + f"<text:table-of-content><text:index-body>{line('a 3')}</text:index-body></text:table-of-content>"
    )
    found = extract(".odt", text_file(body, **{"Basic/script-lc.xml": "<x/>"}))
    assert found.text == "a\n\nb\n\nA red pump\n"
    assert {each.part: each.count for each in found.omissions} == {
        "deletion": 1,
        "comment": 1,
        "hidden text": 1,
        "image without description": 1,
        "table of contents entry": 1,
        "embedded file": 1,
        "macro": 1,
    }


def test_list_of_a_text_goes_on(extract):
    styles = '<text:list-style style:name="L"><text:list-level-style-number text:level="1"/></text:list-style>'
    item = "<text:list-item {}>{}</text:list-item>".format
    first = item('text:start-value="3"', line("a")) + item("", line("b"))
    body = (
        f'<text:list text:style-name="L">{first}</text:list>{line("between")}'
        f'<text:list text:style-name="L" text:continue-numbering="true">{item("", line("c"))}</text:list>'
    )
    assert extract(".odt", odf_file("text", body, styles=styles)).text == "3. a\n4. b\n\nbetween\n\n5. c\n"


def test_equation_of_a_text_is_kept(extract):
    math = (
        '<math xmlns="http://www.w3.org/1998/Math/MathML"><semantics><mfrac><mi>v</mi><mi>t</mi></mfrac>'
        '<annotation encoding="StarMath 5.0">v over t</annotation></semantics></math>'
    )
    body = line('so <draw:frame><draw:object xlink:href="./Object 1"/></draw:frame>')
    assert extract(".odt", text_file(body, **{"Object 1/content.xml": math})).text == "so $\\frac{v}{t}$\n"


def test_equation_that_cannot_be_written_is_named(extract):
    math = '<math xmlns="http://www.w3.org/1998/Math/MathML"><mlongdiv><mn>4</mn></mlongdiv></math>'
    body = line('so <draw:frame><draw:object xlink:href="./Object 1"/></draw:frame>')
    found = extract(".odt", text_file(body, **{"Object 1/content.xml": math}))
    assert [(each.part, each.count) for each in found.omissions] == [("equation", 1)]


def test_spans_and_raised_text_of_a_text(extract):
    covered = "<table:covered-table-cell/>"
    rows = (
        row(cell("Part"), cell("Site", 'table:number-columns-spanned="2"'), covered)
        + row(cell("Relay a|b", 'table:number-rows-spanned="2"'), cell("N"), cell("S"))
        + row(covered, cell("E"), cell("W"))
    )
    body = f"<table:table>{rows}</table:table>" + line('10<text:span text:style-name="Sup">6</text:span>')
    assert extract(".odt", text_file(body)).text == (
        "| Part | Site | Site |\n| --- | --- | --- |\n| Relay a\\|b | N | S |\n| Relay a\\|b | E | W |\n\n10^6\n"
    )


def test_presentation_becomes_sections(extract):
    frame = '<draw:frame presentation:class="{}"><draw:text-box>{}</draw:text-box></draw:frame>'.format
    shown = (
        frame("title", line("Costs"))
        + frame("outline", f"<text:list><text:list-item>{line('cheap')}</text:list-item></text:list>")
        + f"<draw:custom-shape>{line('in a shape')}</draw:custom-shape>"
        + f"<presentation:notes>{frame('notes', line('Say it.'))}</presentation:notes>"
    )
    body = (
        f'<draw:page draw:name="p1">{shown}</draw:page><draw:page draw:name="p2" draw:style-name="Off"/>'
        f"<draw:page>{frame('title', line('End'))}</draw:page>"
    )
    found = extract(".odp", odf_file("presentation", body, styles=STYLES))
    assert found.text == "## Costs\n\n- cheap\n\nin a shape\n\n### Notes\n\nSay it.\n\n## End\n"
    assert [found.text[at:].split("\n")[0] for at in found.pages] == ["## Costs", "## End"]
    assert [(each.part, each.detail) for each in found.omissions] == [("hidden slide", "2 p2.")]
    assert found.title == "Costs"
    untitled = odf_file("presentation", f"<draw:page><draw:rect>{line('words')}</draw:rect></draw:page>")
    assert extract(".odp", untitled).title == "a"


def test_spreadsheet_has_values_as_they_are_shown(extract):
    rows = (
        row(*(cell(name, 'office:value-type="string"') for name in ("Day", "Share", "Price", "Ok", "Time", "Sum")))
        + row(
            value("date", "06.05.24", date_value="2024-05-06"),
            value("percentage", "12,5 %", value="0.125"),
            value("currency", "1.234,50 €", value="1234.5", currency="EUR"),
            value("boolean", "WAHR", boolean_value="true"),
            value("time", "07:08", time_value="PT07H08M09S"),
            value("float", "0,3", value="0.30000000000000004"),
        )
        + row(cell("#REF!", 'office:value-type="string"'))
        + '<table:table-row table:number-rows-repeated="1048000"><table:table-cell '
        'table:number-columns-repeated="16384"/></table:table-row>'
    )
    tables = f'<table:table table:name="May">{rows}</table:table><table:table table:name="No" table:style-name="Gone"/>'
    found = extract(".ods", odf_file("spreadsheet", tables, styles=STYLES))
    assert found.text.splitlines()[4] == "| 2024-05-06 | 12.5% | 1234.5 EUR | TRUE | 07:08:09 | 0.3 |"
    assert [(each.part, each.detail) for each in found.omissions] == [
        ("hidden sheet", "No."),
        ("cell with an error", "May, row 3: #REF!."),
    ]


def test_repeated_and_merged_cells_are_filled(extract):
    rows = (
        row(cell("Part"), cell("x", 'table:number-columns-repeated="2"'))
        + row(cell("Relay", 'table:number-rows-spanned="2"'), cell("N"), cell("S"))
        + row("<table:covered-table-cell/>", cell("E"), cell("W"))
    )
    found = extract(".ods", odf_file("spreadsheet", f'<table:table table:name="A">{rows}</table:table>'))
    assert found.text.endswith("| Part | x | x |\n| --- | --- | --- |\n| Relay | N | S |\n| Relay | E | W |\n")


def test_files_that_are_encrypted_or_renamed_are_issues(collection):
    manifest = (
        '<m:manifest xmlns:m="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"><m:file-entry>'
        "<m:encryption-data/></m:file-entry></m:manifest>"
    )
    encrypted = text_file(line("x"), **{"META-INF/manifest.xml": manifest})
    assert issue(collection, "a.odt", encrypted).kind == "encrypted_office"
    (collection.root / "a.odt").unlink()
    renamed = issue(collection, "b.ods", text_file(line("x")))
    assert renamed.kind == "unreadable_office"
    assert "expected a .ods file, got what is a .odt file" in renamed.message
