"""Documents of Word."""

import io
import zipfile

import pytest
from PIL import Image

from tests.support.corpora.extraction import document, issue, word
from tests.support.corpora.office import NAMESPACES, STRICT_WORD, WORD, paragraph, run, table, with_parts, word_file

HEADING_STYLES = "".join(
    f'<w:style w:type="paragraph" w:styleId="H{level}"><w:name w:val="heading {level}"/></w:style>'
    for level in range(1, 10)
)


def equation(content: str) -> str:
    return f"<m:oMath>{content}</m:oMath>"


def symbols(text: str) -> str:
    return f"<m:r><m:t>{text}</m:t></m:r>"


def fraction(above: str, below: str) -> str:
    return f"<m:f><m:num>{symbols(above)}</m:num><m:den>{symbols(below)}</m:den></m:f>"


def styled(text: str, style: str) -> str:
    return paragraph(text, f'<w:pStyle w:val="{style}"/>')


def field(instruction: str, data: str = "", result: str = "") -> str:
    mark = '<w:r><w:fldChar w:fldCharType="{}">{}</w:fldChar></w:r>'.format
    return (
        f"{mark('begin', data)}<w:r><w:instrText>{instruction}</w:instrText></w:r>"
        f"{mark('separate', '')}{result}{mark('end', '')}"
    )


def one_pixel() -> io.BytesIO:
    file = io.BytesIO()
    Image.new("RGB", (1, 1)).save(file, "PNG")
    return file


def test_docx_becomes_markdown_without_its_images(collection):
    def build(built):
        built.add_heading("Title", 1)
        built.add_paragraph("Some text")
        built.add_heading("Part", 2)
        built.add_paragraph("an item", style="List Bullet")
        built.add_picture(one_pixel())

    found = document(collection, "a.docx", word(build))
    assert found.text == "# Title\n\nSome text\n\n## Part\n\n- an item\n"
    assert found.title == "Title"


def test_broken_docx_is_an_issue(collection):
    whole = word(lambda built: built.add_paragraph("x"))
    not_word = io.BytesIO()
    with zipfile.ZipFile(not_word, "w") as archive:
        archive.writestr("x.xml", "<x/>")
    for content in (b"no zip", whole[:-200], not_word.getvalue()):
        assert issue(collection, "a.docx", content).kind == "unreadable_office"


def test_docx_bomb_is_an_issue(collection, monkeypatch):
    monkeypatch.setattr("embedder_assets.corpus.extract.limits.MAX_UNPACKED_BYTES", 10_000)
    content = word(lambda built: built.add_paragraph("x"))
    found = issue(collection, "a.docx", content)
    assert found.kind == "too_large"
    assert "at most 0.01 MB when unpacked" in found.message


def test_comment_and_equation_are_accounted_for(extract):
    said = paragraph(f"{run('The flow is ')}{equation(fraction('v', 't'))}")
    found = extract(".docx", word_file(said, comments=f'<w:comment w:id="0">{paragraph("Really?")}</w:comment>'))
    assert found.text == "The flow is $\\frac{v}{t}$\n"
    assert [(each.part, each.count) for each in found.omissions] == [("comment", 1)]


def test_equations_stand_where_they_are_written(extract):
    power = f"<m:sSup><m:e>{symbols('r')}</m:e><m:sup>{symbols('2')}</m:sup></m:sSup>"
    body = (
        paragraph(f"{run('Area ')}{equation(symbols('A'))}{run(' of a disc:')}")
        + f"<w:p><m:oMathPara>{equation(symbols('A=π') + power)}</m:oMathPara></w:p>"
        + table(["Name", "Formula"], ["mean", f"<w:p>{equation(fraction('a+b', '2'))}</w:p>"])
        + paragraph(f"{run('empty ')}{equation('')}")
    )
    text = extract(".docx", word_file(body)).text
    assert text.startswith("Area $A$ of a disc:\n\n$$A=\\pi r^{2}$$\n\n")
    assert "| mean | $\\frac{a+b}{2}$ |" in text
    assert text.endswith("empty\n")


def test_equation_typed_in_a_line_keeps_its_marks(extract):
    typed = word_file(paragraph(run("Flow ") + equation(symbols("Q = k_v d^2 / 4"))))
    assert extract(".docx", typed).text == "Flow $Q = k_v d^2 / 4$\n"


def test_equation_of_unknown_elements_keeps_its_words(extract):
    novel = f"<m:novel><m:e>{symbols('mass')}</m:e></m:novel>"
    assert extract(".docx", word_file(paragraph(run("E is ") + equation(novel)))).text == "E is $mass$\n"


def test_equation_of_an_earlier_editor_is_named(left_out):
    ole = '<w:r><w:object><o:OLEObject ProgID="Equation.3"/></w:object></w:r>'
    assert left_out(".docx", word_file(paragraph(run("x") + ole))) == {"equation": 1}


def test_deep_headings_stay_headings(extract):
    body = styled("Top", "H1") + styled("Deep", "H8")
    assert extract(".docx", word_file(body, styles=HEADING_STYLES)).text == "# Top\n\n###### Deep\n"


def test_heading_is_known_by_its_level(extract):
    styles = (
        f"{HEADING_STYLES}"
        '<w:style w:type="paragraph" w:styleId="Own"><w:name w:val="Ours"/><w:basedOn w:val="H2"/></w:style>'
        '<w:style w:type="paragraph" w:styleId="Out"><w:name w:val="Outer"/><w:pPr><w:outlineLvl w:val="2"/></w:pPr>'
        "</w:style>"
    )
    body = styled("a", "Own") + styled("b", "Out") + paragraph("c", '<w:outlineLvl w:val="0"/>')
    assert extract(".docx", word_file(body, styles=styles)).text == "## a\n\n### b\n\n# c\n"


def test_deletion_goes_and_insertion_stays(extract):
    body = paragraph(
        f'{run("Pay ")}<w:ins w:id="1">{run("forty")}</w:ins>'
        '<w:del w:id="2"><w:r><w:delText>thirty</w:delText></w:r></w:del>'
        f'<w:moveFrom w:id="3">{run(" twice")}</w:moveFrom><w:moveTo w:id="4">{run(" euros")}</w:moveTo>'
    )
    found = extract(".docx", word_file(body))
    assert found.text == "Pay forty euros\n"
    assert [(each.part, each.count) for each in found.omissions] == [("deletion", 1)]


def test_deleted_row_of_a_table_goes(extract):
    body = table(["Part", "Count"], ["Relay", "12"], ["Fuse", "7"])
    deleted = body.replace(
        '<w:tr><w:tc><w:p><w:pPr></w:pPr><w:r><w:rPr></w:rPr><w:t xml:space="preserve">Relay',
        "<w:tr><w:trPr><w:del w:id='1'/></w:trPr><w:tc><w:p><w:r><w:t>Relay",
    )
    found = extract(".docx", word_file(deleted))
    assert found.text == "| Part | Count |\n| --- | --- |\n| Fuse | 7 |\n"
    assert [(each.part, each.count) for each in found.omissions] == [("deletion", 1)]


def test_drop_cap_goes_back_to_its_word(extract):
    body = paragraph("O", '<w:framePr w:dropCap="drop"/>') + paragraph("nce upon a time")
    assert extract(".docx", word_file(body)).text == "Once upon a time\n"


def test_symbol_without_a_word_is_named(extract):
    marks = '<w:r><w:sym w:font="Wingdings" w:char="F0FC"/><w:sym w:font="Ours" w:char="F001"/></w:r>'
    found = extract(".docx", word_file(paragraph(run("done ") + marks)))
    assert found.text == "done ✓\n"
    assert [(each.part, each.count) for each in found.omissions] == [("symbol", 1)]


def test_values_of_forms_are_text(extract):
    box = "<w:ffData><w:checkBox>{}</w:checkBox></w:ffData>".format
    lines = '<w:listEntry w:val="red"/><w:listEntry w:val="blue"/>'
    choice = f'<w:ffData><w:ddList><w:result w:val="1"/>{lines}</w:ddList></w:ffData>'
    body = paragraph(
        run("Name: ")
        + field(" FORMTEXT ", "<w:ffData/>", run("Ada"))
        + run(" paid: ")
        + field(" FORMCHECKBOX ", box("<w:checked/>"))
        + run(" late: ")
        + field(" FORMCHECKBOX ", box('<w:default w:val="0"/>'))
        + run(" kind: ")
        + field(" FORMDROPDOWN ", choice)
    )
    assert extract(".docx", word_file(body)).text == "Name: Ada paid: ☒ late: ☐ kind: blue\n"


def test_fields_and_controls_keep_what_they_show(extract):
    box = "<w:sdt><w:sdtPr><w14:checkbox/></w:sdtPr><w:sdtContent>{}</w:sdtContent></w:sdt>"
    body = paragraph(
        f'{run("See ")}<w:fldSimple w:instr="REF x">{run("part 4")}</w:fldSimple>{run(" on ")}'
        f"{field(' PAGEREF x ', '', run('page 17'))}{run(' ')}{box.format(run('☒'))}"
        f'<w:bdo w:val="rtl">{run(" and more")}</w:bdo>'
    )
    assert extract(".docx", word_file(body)).text == "See part 4 on page 17 ☒ and more\n"


def test_text_box_follows_its_paragraph_once(extract):
    inner = f"<w:txbxContent>{paragraph('In the box')}</w:txbxContent>"
    box = (
        f'<w:r><mc:AlternateContent><mc:Choice Requires="wps"><w:drawing>{inner}</w:drawing></mc:Choice>'
        f"<mc:Fallback><w:pict><v:textbox>{inner}</v:textbox></w:pict></mc:Fallback></mc:AlternateContent></w:r>"
    )
    body = paragraph(f"{run('Before')}{box}{run(' and on')}") + paragraph("After")
    assert extract(".docx", word_file(body)).text == "Before and on\n\nIn the box\n\nAfter\n"


def test_chart_and_diagram_become_text(extract):
    chart = (
        f"<c:chartSpace {NAMESPACES}><c:chart><c:title><a:t>Sales</a:t></c:title><c:plotArea><c:ser>"
        "<c:tx><c:v>North</c:v></c:tx><c:cat><c:pt idx='0'><c:v>May</c:v></c:pt><c:pt idx='1'><c:v>June</c:v></c:pt>"
        "</c:cat><c:val><c:pt idx='0'><c:v>4</c:v></c:pt></c:val></c:ser></c:plotArea></c:chart></c:chartSpace>"
    )
    shape = "<dgm:pt><dgm:t><a:p><a:r><a:t>Plan</a:t></a:r></a:p></dgm:t></dgm:pt>"
    diagram = f"<dgm:dataModel {NAMESPACES}>{shape}</dgm:dataModel>"
    body = paragraph('<w:r><w:drawing><c:chart r:id="c1"/></w:drawing></w:r>') + paragraph(
        '<w:r><w:drawing><dgm:relIds r:dm="d1"/></w:drawing></w:r>'
    )
    related = {"c1": ("chart", "charts/chart1.xml"), "d1": ("diagramData", "diagrams/data1.xml")}
    data = word_file(body, related=related, **{"word/charts/chart1.xml": chart, "word/diagrams/data1.xml": diagram})
    assert extract(".docx", data).text == "Sales\n\n|  | North |\n| --- | --- |\n| May | 4 |\n| June |  |\n\nPlan\n"


def test_chart_without_its_part_is_named(left_out):
    body = paragraph(run("x") + '<w:r><w:drawing><c:chart r:id="none"/></w:drawing></w:r>')
    assert left_out(".docx", word_file(body)) == {"chart": 1}


def test_newer_chart_without_values_is_named(left_out):
    chart = '<x:chart xmlns:x="http://schemas.microsoft.com/office/drawing/2014/chartex"/>'
    body = paragraph(run("x") + f"<w:r><w:drawing>{chart}</w:drawing></w:r>")
    assert left_out(".docx", word_file(body)) == {"chart": 1}


def test_hint_of_an_empty_form_field_goes(extract):
    hint = run("Click here to enter text.")
    control = f"<w:sdt><w:sdtPr><w:showingPlcHdr/></w:sdtPr><w:sdtContent>{hint}</w:sdtContent></w:sdt>"
    found = extract(".docx", word_file(paragraph(run("Name: ") + control)))
    assert found.text == "Name:\n"
    assert [(each.part, each.count) for each in found.omissions] == [("empty form field", 1)]


def test_link_field_and_instruction_of_a_field(extract):
    link = field(' HYPERLINK "https://example.org/a" ', "", run("the page"))
    inner = field(" IF x ", "", run("shown"))
    body = paragraph(run("See ") + link + run(", ") + inner)
    assert extract(".docx", word_file(body)).text == "See [the page](https://example.org/a), shown\n"


def test_image_is_its_description_or_is_named(extract):
    picture = '<w:r><w:drawing><wp:docPr id="1" {}/><a:blip r:embed="i"/></w:drawing></w:r>'.format
    described = 'descr="A red pump"'
    found = extract(".docx", word_file(paragraph(run("See") + picture(described) + picture(""))))
    assert found.text == "See A red pump\n"
    assert [(each.part, each.count) for each in found.omissions] == [("image without description", 1)]


def test_hidden_text_is_left_out_and_named(extract):
    styles = '<w:style w:type="character" w:styleId="X"><w:rPr><w:vanish/></w:rPr></w:style>'
    hidden, by_style, shown = "<w:vanish/>", '<w:rStyle w:val="X"/>', '<w:vanish w:val="0"/>'
    body = paragraph(run("a") + run("b", hidden) + run("c", by_style) + run("d", shown))
    found = extract(".docx", word_file(body, styles=styles))
    assert found.text == "ad\n"
    assert [(each.part, each.count) for each in found.omissions] == [("hidden text", 2)]


LEVELS = (
    '<w:abstractNum w:abstractNumId="1"><w:lvl w:ilvl="0"><w:start w:val="3"/><w:numFmt w:val="decimal"/>'
    '<w:lvlText w:val="%1."/></w:lvl><w:lvl w:ilvl="1"><w:start w:val="1"/><w:numFmt w:val="lowerRoman"/>'
    '<w:lvlText w:val="%1 (%2)"/></w:lvl></w:abstractNum><w:num w:numId="7"><w:abstractNumId w:val="1"/></w:num>'
)


def numbered(text: str, level: int = 0, style: str = "") -> str:
    number = f'<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="7"/></w:numPr>'
    return paragraph(text, f'<w:pStyle w:val="{style}"/>{number}' if style else number)


def test_lists_count_as_they_are_shown(extract):
    body = numbered("first") + numbered("inner", 1) + numbered("second inner", 1) + numbered("fourth")
    text = extract(".docx", word_file(body, numbering=LEVELS)).text
    assert "- 3 (i) inner\n" in text
    assert "- 3 (ii) second inner\n" in text


def test_list_goes_on_behind_other_text(extract):
    body = numbered("a") + paragraph("between") + numbered("b")
    assert extract(".docx", word_file(body, numbering=LEVELS)).text == "3. a\n\nbetween\n\n4. b\n"


def test_number_of_a_heading_is_in_its_text(extract):
    body = numbered("Scope", style="H1") + numbered("Limits", 1, style="H2")
    text = extract(".docx", word_file(body, numbering=LEVELS, styles=HEADING_STYLES)).text
    assert text == "# 3. Scope\n\n## 3 (i) Limits\n"


def test_notes_stand_behind_the_text(extract):
    notes = f'<w:footnote w:id="2">{paragraph("Only in May.")}</w:footnote>'
    body = paragraph(f'{run("Open daily")}<w:r><w:footnoteReference w:id="2"/></w:r>{run(" or not")}')
    assert extract(".docx", word_file(body, footnotes=notes)).text == "Open daily[1] or not\n\n1. Only in May.\n"


def test_table_of_contents_goes(extract):
    body = styled("Scope 3", "TOC1") + styled("Scope", "H1") + paragraph("All of it")
    found = extract(".docx", word_file(body, styles=HEADING_STYLES))
    assert found.text == "# Scope\n\nAll of it\n"
    assert [each.part for each in found.omissions] == ["table of contents entry"]


def test_heads_of_pages_are_named_unless_numbers(left_out):
    head, foot = (f"<w:{tag} {NAMESPACES}>{{}}</w:{tag}>".format for tag in ("hdr", "ftr"))
    related = {"h": ("header", "header1.xml"), "f": ("footer", "footer1.xml")}
    parts = {"word/header1.xml": head(paragraph("Draft of May")), "word/footer1.xml": foot(paragraph("Page 3 of 9"))}
    assert left_out(".docx", word_file(paragraph("x"), related=related, **parts)) == {"page header": 1}


def test_embedded_files_and_macros_are_named(left_out):
    parts = {"word/embeddings/Sheet1.xlsx": b"PK", "word/vbaProject.bin": b"x", "word/chunk.html": "<p>x"}
    data = word_file(paragraph("x"), related={"a": ("aFChunk", "chunk.html")}, **parts)
    assert left_out(".docm", data) == {"macro": 1, "embedded file": 2}


@pytest.mark.parametrize("element", ["<w:br w:type='page'/>", "<w:cr/>", "<w:ptab/>"])
def test_words_around_a_break_stay_apart(extract, element):
    text = extract(".docx", word_file(paragraph(f"<w:r><w:t>end</w:t>{element}<w:t>start</w:t></w:r>"))).text
    assert text.split() == ["end", "start"]


def test_ruby_keeps_its_base(extract):
    ruby = f"<w:r><w:ruby><w:rt>{run('kan')}</w:rt><w:rubyBase>{run('漢')}</w:rubyBase></w:ruby></w:r>"
    assert extract(".docx", word_file(paragraph(ruby))).text == "漢 (kan)\n"


def test_strict_document_is_read(extract):
    data = word_file(styled("Top", "H1") + paragraph(equation(symbols("x"))), styles=HEADING_STYLES)
    parts = {name: zipfile.ZipFile(io.BytesIO(data)).read(name) for name in ("word/document.xml", "word/styles.xml")}
    strict = with_parts(data, {name: text.replace(WORD.encode(), STRICT_WORD.encode()) for name, text in parts.items()})
    assert extract(".docx", strict).text == extract(".docx", data).text == "# Top\n\n$$x$$\n"


def test_first_row_is_the_header(extract):
    text = extract(".docx", word_file(table(["Part", "Count"], ["Relay", "12"]))).text
    assert text == "| Part | Count |\n| --- | --- |\n| Relay | 12 |\n"


def test_row_that_begins_late_keeps_its_columns(extract):
    late = f"<w:tr><w:trPr><w:gridBefore w:val='1'/></w:trPr><w:tc>{paragraph('12')}</w:tc></w:tr>"
    body = table(["Part", "Count"]).replace("</w:tbl>", f"{late}</w:tbl>")
    assert extract(".docx", word_file(body)).text.endswith("|  | 12 |\n")


def test_spans_are_filled(extract):
    wide, first, on = '<w:gridSpan w:val="2"/>', '<w:vMerge w:val="restart"/>', "<w:vMerge/>"
    cell = "<w:tcPr>{}</w:tcPr>{}".format
    body = table(
        ["Part", cell(wide, paragraph("Site"))],
        [cell(first, paragraph("Relay a|b") + paragraph("spare")), "N", "S"],
        [cell(on, paragraph("")), "E", "W"],
    )
    assert extract(".docx", word_file(body)).text.splitlines()[2:] == [
        "| Relay a\\|b; spare | N | S |",
        "| Relay a\\|b; spare | E | W |",
    ]


def test_raised_numbers_keep_their_mark(extract):
    raised = '<w:vertAlign w:val="superscript"/>'
    body = paragraph(run("5 of 10") + run("6", raised) + run(" litres over 25 m") + run("2", raised))
    assert extract(".docx", word_file(body)).text == "5 of 10^6 litres over 25 m^2\n"


@pytest.mark.parametrize("text", ["# of seats", "1986. A year", "&lt;script&gt; runs", "* note", "- minus", "```"])
def test_words_of_a_paragraph_are_no_markup(extract, text):
    body = paragraph(text) + styled("Next", "H1")
    assert extract(".docx", word_file(body, styles=HEADING_STYLES)).text.splitlines()[0].startswith(("\\", "1986\\"))
