"""Values of form fields and typed notes are text, each once and at its place; the rest of the annotations is named."""

import pytest

from tests.support.corpora.extraction import document
from tests.support.corpora.pdf_files import annotated, drawn, one_page, stream

BESIDE = b"/Rect[200 695 400 715]"


def text_field(name: bytes, value: bytes, rect: bytes = BESIDE, more: bytes = b"") -> bytes:
    return b"/Subtype/Widget/FT/Tx/T(%s)/V(%s)%s/F 4%s" % (name, value, rect, more)


def parts(found) -> dict[str, int]:
    return {each["part"]: each["count"] for each in found.omissions}


def test_value_stands_after_its_label(collection):
    found = document(collection, "a.pdf", annotated(text_field(b"who", b"M. Sample"), text=b"Name:"))
    assert found.text == "Name: M. Sample\n"
    assert parts(found) == {}


def test_values_without_a_label_get_their_names(collection):
    fields = [
        text_field(b"reason", b"removal", b"/Rect[72 600 400 620]"),
        text_field(b"f1_01[0]", b"Bergen", b"/Rect[72 560 400 580]", b"/TU(Place of work)"),
        text_field(b"f1_02[0]", b"October", b"/Rect[72 520 400 540]"),
    ]
    text = " ".join(document(collection, "a.pdf", annotated(*fields)).text.split())
    assert text == "Some words reason: removal Place of work: Bergen October"


def test_ticks_say_whether_they_are_set(collection):
    def form(canvas):
        for row, (label, is_checked) in enumerate([("paid leave", True), ("unpaid leave", False)]):
            y = 700 - 40 * row
            canvas.acroForm.checkbox(name=f"c{row}", x=72, y=y, size=14, checked=is_checked)
            canvas.drawString(100, y + 2, label)
        for row, (label, is_selected) in enumerate([("mornings", False), ("evenings", True)]):
            y = 600 - 40 * row
            canvas.acroForm.radio(name="when", value=label, x=72, y=y, size=14, selected=is_selected)
            canvas.drawString(100, y + 2, label)
        canvas.acroForm.checkbox(name="agreed", tooltip="I agree", x=72, y=300, size=14, checked=True)

    lines = document(collection, "a.pdf", drawn(form)).text.split("\n")
    expected = ["[x] paid leave", "[ ] unpaid leave", "[ ] mornings", "[x] evenings", "[x] I agree"]
    assert [line for line in lines if line] == expected


def test_ticks_without_a_label_get_their_option(collection):
    kid = b"/Subtype/Widget/Parent 10 0 R/F 4/AS/%s/AP<</N<</%s 9 0 R/Off 9 0 R>>>>/Rect[%d 695 %d 715]"
    male, female = kid % (b"Off", b"male", 200, 215), kid % (b"female", b"female", 240, 255)
    data = one_page(
        b"BT /F1 12 Tf 72 700 Td (Sex:) Tj ET",
        b"null",
        *(b"<</Type/Annot%s>>" % each for each in (male, female)),
        stream(b"", b"/Type/XObject/Subtype/Form/BBox[0 0 9 9]"),
        b"<</FT/Btn/Ff 49152/T(sex)/V/female/Kids[7 0 R 8 0 R]>>",
        page=b"/Annots[7 0 R 8 0 R]",
        catalog=b"/AcroForm<</Fields[10 0 R]>>",
    )
    assert document(collection, "a.pdf", data).text == "Sex: [ ] male [x] female\n"


@pytest.mark.parametrize("catalog", [b"", b"/AcroForm<</Fields[]>>"])
def test_fields_without_a_form_are_read(collection, catalog):
    field = b"<</Type/Annot%s>>" % text_field(b"who", b"M. Sample")
    data = one_page(b"BT /F1 12 Tf 72 700 Td (Name:) Tj ET", field, page=b"/Annots[6 0 R]", catalog=catalog)
    assert document(collection, "a.pdf", data).text == "Name: M. Sample\n"


def test_value_of_a_parent_field_is_read(collection):
    parent = b"<</FT/Tx/T(why)/TU(Reason for leave)/Ff 4096/V(first line\\rsecond line)/Kids[7 0 R]>>"
    kid = b"<</Type/Annot/Subtype/Widget/Parent 6 0 R/Rect[72 500 400 600]/F 4>>"
    data = one_page(
        b"BT /F1 12 Tf 72 700 Td (Words) Tj ET",
        parent,
        kid,
        page=b"/Annots[7 0 R]",
        catalog=b"/AcroForm<</Fields[6 0 R]>>",
    )
    assert document(collection, "a.pdf", data).text == "Words\nReason for leave: first line second line\n"


def test_choices_show_labels_of_chosen_options(collection):
    options = b"/Opt[[(no) (Norway)] [(se) (Sweden)] [(fi) (Finland)]]"
    combo = b"/Subtype/Widget/FT/Ch/Ff 131072/T(land)/V(se)%s/F 4%s" % (options, BESIDE)
    found = document(collection, "a.pdf", annotated(combo, text=b"Country:"))
    assert found.text == "Country: Sweden\n"
    several = b"/Subtype/Widget/FT/Ch/Ff 2097152/T(land)/V[(no) (fi)]%s/F 4%s" % (options, BESIDE)
    assert document(collection, "a.pdf", annotated(several, text=b"Countries:")).text == "Countries: Norway, Finland\n"


def test_printed_values_are_not_repeated(collection):
    field = text_field(b"who", b"M. Sample", b"/Rect[70 695 300 715]")
    assert document(collection, "a.pdf", annotated(field, text=b"M. Sample")).text == "M. Sample\n"


def test_field_on_several_pages_is_read_once(collection):
    twice = [text_field(b"who", b"M. Sample"), text_field(b"who", b"M. Sample", b"/Rect[200 595 400 615]")]
    assert document(collection, "a.pdf", annotated(*twice, text=b"Name:")).text == "Name: M. Sample\n"


@pytest.mark.parametrize(
    ("field", "part"),
    [
        (text_field(b"pin", b"12345", more=b"/Ff 8192"), "password"),
        (text_field(b"pin", b"12345").replace(b"/F 4", b"/F 2"), "hidden form value"),
    ],
)
def test_values_that_no_page_shows_are_named(collection, field, part):
    found = document(collection, "a.pdf", annotated(field))
    assert (found.text, parts(found)) == ("Some words\n", {part: 1})


def test_empty_fields_and_buttons_say_nothing(collection):
    fields = [text_field(b"who", b""), b"/Subtype/Widget/FT/Btn/Ff 65536/T(send)%s/F 4" % BESIDE]
    found = document(collection, "a.pdf", annotated(*fields))
    assert (found.text, parts(found)) == ("Some words\n", {})


def test_typed_notes_and_stamps_are_text(collection):
    notes = [
        b"/Subtype/FreeText/Contents(Exit C is shut)/Rect[72 500 300 520]/F 4/DA(/Helv 12 Tf)",
        b"/Subtype/Stamp/Name/NotApproved/Rect[72 400 300 420]/F 4",
        b"/Subtype/Stamp/Name/#23x7f/Rect[72 350 300 370]/F 4",
        b"/Subtype/FreeText/Contents(never shown)/Rect[72 300 300 320]/F 2/DA(/Helv 12 Tf)",
    ]
    found = document(collection, "a.pdf", annotated(*notes))
    assert (found.text, parts(found)) == ("Some words\nExit C is shut\nNot Approved\n", {"stamp": 1})


def test_notes_stand_where_they_are_on_the_page(collection):
    content = b"BT /F1 12 Tf 72 700 Td (The first line.) Tj 0 -200 Td (The last line.) Tj ET"
    page = b"/Annots[6 0 R]"
    note = b"<</Type/Annot/Subtype/FreeText/Contents(In between)/Rect[72 600 300 620]/F 4/DA(/Helv 12 Tf)>>"
    text = document(collection, "a.pdf", one_page(content, note, page=page)).text
    assert " ".join(text.split()) == "The first line. In between The last line."


def test_comments_are_named_and_not_text(collection):
    comments = [
        b"/Subtype/Text/Contents(ask the brigade)/Rect[10 10 20 20]",
        b"/Subtype/Highlight/Contents(is that so?)/Rect[72 700 100 712]/QuadPoints[72 712 100 712 72 700 100 700]",
        b"/Subtype/Highlight/Rect[72 700 100 712]/QuadPoints[72 712 100 712 72 700 100 700]",
        b"/Subtype/Popup/Contents(ask the brigade)/Rect[10 10 20 20]",
    ]
    found = document(collection, "a.pdf", annotated(*comments))
    assert (found.text, parts(found)) == ("Some words\n", {"comment": 2})


def test_recordings_and_models_are_named(collection):
    media = [b"/Subtype/Movie/Rect[0 0 9 9]", b"/Subtype/Sound/Rect[0 0 9 9]", b"/Subtype/3D/Rect[0 0 9 9]"]
    assert parts(document(collection, "a.pdf", annotated(*media))) == {"sound or film": 2, "3D model": 1}


def test_files_on_a_page_are_named(collection):
    attached = b"/Subtype/FileAttachment/Rect[0 0 9 9]/FS<</Type/Filespec/F(../../plan.xlsx)/UF(../../plan.xlsx)>>"
    (omission,) = document(collection, "a.pdf", annotated(attached)).omissions
    assert (omission["part"], omission["count"]) == ("embedded file", 1)
    assert "plan.xlsx" in omission["detail"]


def test_many_notes_take_no_long_time(collection):
    note = b"/Subtype/FreeText/Contents(note)/Rect[72 500 300 520]/F 4/DA(/Helv 12 Tf)"
    found = document(collection, "a.pdf", annotated(*[note] * 5_000))
    assert found.text.split().count("note") == 5_000


def test_form_of_xfa_is_named(collection):
    form = b"/AcroForm<</Fields[]/XFA[(template) 6 0 R (datasets) 6 0 R]>>"
    for catalog in (form, form + b"/NeedsRendering true"):
        data = one_page(b"BT /F1 12 Tf 72 700 Td (Please wait) Tj ET", stream(b"<x/>"), catalog=catalog)
        assert parts(document(collection, "a.pdf", data)) == {"XFA form": 1}


def test_form_with_xfa_beside_its_fields_is_whole(collection):
    packets = b"/XFA[(template) 4 0 R]/Fields"
    data = annotated(text_field(b"who", b"M. Sample"), text=b"Name:").replace(b"/Fields", packets)
    found = document(collection, "a.pdf", data)
    assert (found.text, parts(found)) == ("Name: M. Sample\n", {})
