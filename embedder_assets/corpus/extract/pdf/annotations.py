"""What lies on a page next to its text: values of form fields and typed notes become lines; the rest is counted."""

from __future__ import annotations

import ctypes
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pypdfium2 import raw

from embedder_assets.corpus.extract.pdf.line import Line, line_of, within_reach

if TYPE_CHECKING:
    from pypdfium2 import PdfPage, PdfTextPage

_TICKS = {raw.FPDF_FORMFIELD_CHECKBOX, raw.FPDF_FORMFIELD_RADIOBUTTON}
_CHOICES = {raw.FPDF_FORMFIELD_COMBOBOX, raw.FPDF_FORMFIELD_LISTBOX}
_TYPED = {raw.FPDF_ANNOT_FREETEXT, raw.FPDF_ANNOT_STAMP}
_MEDIA = {raw.FPDF_ANNOT_SOUND, raw.FPDF_ANNOT_MOVIE, raw.FPDF_ANNOT_SCREEN, raw.FPDF_ANNOT_RICHMEDIA}
# What a reviewer says about the text, as the comments of a word processor.
_COMMENTS = {
    raw.FPDF_ANNOT_TEXT,
    *range(raw.FPDF_ANNOT_LINE, raw.FPDF_ANNOT_STRIKEOUT + 1),
    raw.FPDF_ANNOT_CARET,
    raw.FPDF_ANNOT_INK,
}
_HIDDEN = raw.FPDF_ANNOT_FLAG_HIDDEN | raw.FPDF_ANNOT_FLAG_NOVIEW
_SPOKEN_NAME = re.compile(r"[^\W\d_]{3,}[\w .-]*")
_STANDARD_STAMP = re.compile("(?:[A-Z][a-z]+)+")
_MOST_PLACED = 1000  # notes and values of a page that are put next to their label; more than that is no form
_LABEL_GAP = 40  # points between a tick and its label


@dataclass
class Losses:
    """What of the annotations is not in the text: how often each kind, and the names of embedded files.

    ``fields`` is how many fields there are; a form in XFA alone has none.
    """

    counts: Counter[str] = field(default_factory=Counter)
    files: list[str] = field(default_factory=list)
    fields: int = 0


class Annotations:
    """Reads the annotations of a document, page by page, and keeps what was left out in ``losses``."""

    def __init__(self, form: Any) -> None:
        self._form = form
        self._seen: set[tuple[str, str]] = set()
        self.losses = Losses()

    def placed(self, page: PdfPage, textpage: PdfTextPage, lines: list[Line]) -> list[Line]:
        """The lines of a page with the values of its fields and the notes typed on it, each where it stands."""
        found = [note for note in self._notes(page) if not _is_printed(note, textpage)]
        for note in found[:_MOST_PLACED]:
            lines = _with_note(lines, note)
        return lines + [note.line() for note in found[_MOST_PLACED:]]

    def _notes(self, page: PdfPage) -> Iterator[_Note]:
        for number in range(raw.FPDFPage_GetAnnotCount(page)):
            annotation = raw.FPDFPage_GetAnnot(page, number)
            if not annotation:
                continue
            try:
                note = self._note(annotation)
            finally:
                raw.FPDFPage_CloseAnnot(annotation)
            if note:
                yield note

    def _note(self, annotation: Any) -> _Note | None:
        kind = raw.FPDFAnnot_GetSubtype(annotation)
        contents = _string(annotation, b"Contents")
        if kind == raw.FPDF_ANNOT_WIDGET:
            return self._field(annotation) if self._form else _loose_field(annotation)
        if kind in _TYPED and not raw.FPDFAnnot_GetFlags(annotation) & _HIDDEN:
            text = contents or (_stamped(_string(annotation, b"Name")) if kind == raw.FPDF_ANNOT_STAMP else "")
            self.losses.counts["stamp"] += kind == raw.FPDF_ANNOT_STAMP and not text
            return _Note(text, "", _rect(annotation)) if text else None
        if kind in _COMMENTS and contents:
            self.losses.counts["comment"] += 1
        elif kind in _MEDIA:
            self.losses.counts["sound or film"] += 1
        elif kind == raw.FPDF_ANNOT_THREED:
            self.losses.counts["3D model"] += 1
        elif kind == raw.FPDF_ANNOT_FILEATTACHMENT:
            attached = raw.FPDFAnnot_GetFileAttachment(annotation)
            name = read_text(lambda *into: raw.FPDFAttachment_GetName(attached, *into)) if attached else ""
            self.losses.files.append(name or contents)
        return None

    def _field(self, annotation: Any) -> _Note | None:
        self.losses.fields += 1
        kind = raw.FPDFAnnot_GetFormFieldType(self._form, annotation)
        name = self._of_field(raw.FPDFAnnot_GetFormFieldName, annotation)
        label = self._of_field(raw.FPDFAnnot_GetFormFieldAlternateName, annotation) or _spoken(name)
        if kind in _TICKS:
            text = "[x]" if raw.FPDFAnnot_IsChecked(self._form, annotation) else "[ ]"
            option, key = self._of_field(raw.FPDFAnnot_GetFormFieldExportValue, annotation), name
            if kind == raw.FPDF_FORMFIELD_RADIOBUTTON:
                key, label = f"{name} {option}", option or label
        elif kind == raw.FPDF_FORMFIELD_TEXTFIELD or kind in _CHOICES:
            text = self._chosen(annotation) if kind in _CHOICES else ""
            text, key = text or self._of_field(raw.FPDFAnnot_GetFormFieldValue, annotation), name
        else:
            return None
        if not text or (key, text) in self._seen:
            return None
        flags = raw.FPDFAnnot_GetFormFieldFlags(self._form, annotation)
        if kind == raw.FPDF_FORMFIELD_TEXTFIELD and flags & raw.FPDF_FORMFLAG_TEXT_PASSWORD:
            self.losses.counts["password"] += 1
            return None
        if raw.FPDFAnnot_GetFlags(annotation) & _HIDDEN:
            self.losses.counts["hidden form value"] += kind not in _TICKS
            return None
        self._seen.add((key, text))
        return _Note(text, label, _rect(annotation), kind in _TICKS)

    def _chosen(self, annotation: Any) -> str:
        count = raw.FPDFAnnot_GetOptionCount(self._form, annotation)
        chosen = [n for n in range(count) if raw.FPDFAnnot_IsOptionSelected(self._form, annotation, n)]
        option = raw.FPDFAnnot_GetOptionLabel
        return ", ".join(read_text(lambda *into, n=n: option(self._form, annotation, n, *into)) for n in chosen)

    def _of_field(self, get: Callable[..., int], annotation: Any) -> str:
        return read_text(lambda *into: get(self._form, annotation, *into))


@dataclass(frozen=True)
class _Note:
    """Text that stands on a page in an annotation: left, bottom, right, top in points."""

    text: str
    label: str
    box: tuple[float, float, float, float]
    is_tick: bool = False

    def line(self, *, labelled: bool = True) -> Line:
        text = " ".join(self.text.split())
        if labelled and self.label:
            text = f"{text} {self.label}" if self.is_tick else f"{self.label.rstrip(' :')}: {text}"
        left, bottom, right, top = self.box
        return Line(text, left, bottom, right, top, bottom, min(top - bottom, 12.0) or 1.0)


def _loose_field(annotation: Any) -> _Note | None:
    """A field of a document that has lost its form, whose value stands in the field itself."""
    label = _string(annotation, b"TU") or _spoken(_string(annotation, b"T"))
    text = _string(annotation, b"V")
    shown = text and not raw.FPDFAnnot_GetFlags(annotation) & _HIDDEN
    return _Note(text, label, _rect(annotation)) if shown else None


def _is_printed(note: _Note, textpage: PdfTextPage) -> bool:
    """Whether the text layer has it already, as in a form that was printed to a new PDF."""
    if note.is_tick:
        return False
    left, bottom, right, top = note.box
    words = " ".join(textpage.get_text_bounded(left - 2, bottom - 2, right + 2, top + 2).split())
    return " ".join(note.text.split()) in words


def _with_note(lines: list[Line], note: _Note) -> list[Line]:
    """Put a note on the line that stands at its height, or else before the first line that is lower."""
    near = min(
        (number for number, line in enumerate(lines) if _at_one_height(line, note.box)),
        key=lambda number: _distance(lines[number], note.box),
        default=None,
    )
    if near is not None:
        labelled = note.is_tick and not any(_is_label(part, note.box) for part in lines[near].parts)
        joined = line_of([*lines[near].parts, note.line(labelled=labelled)])
        return [*lines[:near], joined, *lines[near + 1 :]]
    after = next((number for number, line in enumerate(lines) if _is_below(line, note.box)), len(lines))
    return [*lines[:after], note.line(), *lines[after:]]


def _at_one_height(line: Line, box: tuple[float, float, float, float]) -> bool:
    shared = min(line.top, box[3]) - max(line.bottom, box[1])
    return line.upright and shared > 0.5 * min(line.top - line.bottom, box[3] - box[1]) > 0


def _is_label(part: Line, box: tuple[float, float, float, float]) -> bool:
    """Whether a text is close enough to a box to say what a tick in it means."""
    return not part.text.startswith("[") and max(part.left - box[2], box[0] - part.right) < _LABEL_GAP


def _is_below(line: Line, box: tuple[float, float, float, float]) -> bool:
    return line.upright and line.top <= box[1] + 1 and line.left < box[2] and line.right > box[0]


def _distance(line: Line, box: tuple[float, float, float, float]) -> float:
    return min(max(part.left - box[2], box[0] - part.right, 0.0) for part in line.parts)


def _rect(annotation: Any) -> tuple[float, float, float, float]:
    rect = raw.FS_RECTF()
    raw.FPDFAnnot_GetRect(annotation, rect)
    xs = sorted(map(within_reach, (rect.left, rect.right)))
    ys = sorted(map(within_reach, (rect.bottom, rect.top)))
    return xs[0], ys[0], xs[1], ys[1]


def _stamped(name: str) -> str:
    """The words of a standard stamp ("NotApproved"); what programs call their own ones is none."""
    return re.sub("(?<=[a-z])(?=[A-Z])", " ", name) if _STANDARD_STAMP.fullmatch(name) else ""


def _spoken(name: str) -> str:
    """The last part of a field's name where it is words: programs write ``form1[0].Page1[0].f1_01[0]``."""
    last = re.sub(r"\[\d+\]", "", name).rpartition(".")[2]
    return last if _SPOKEN_NAME.fullmatch(last) else ""


def _string(annotation: Any, key: bytes) -> str:
    return read_text(lambda *into: raw.FPDFAnnot_GetStringValue(annotation, key, *into))


def read_text(get: Callable[..., int]) -> str:
    """A text that pdfium writes into a buffer: it is asked for the length first."""
    length = get(None, 0)
    if length <= 2:
        return ""
    buffer = (ctypes.c_ushort * (length // 2))()
    get(buffer, length)
    return bytes(buffer).decode("utf-16-le", "ignore").rstrip("\0").strip()


def embedded_files(pdf: Any) -> list[str]:
    """Names of the files that a document carries as a whole."""
    return [
        read_text(lambda *into, n=n: raw.FPDFAttachment_GetName(raw.FPDFDoc_GetAttachment(pdf, n), *into))
        for n in range(raw.FPDFDoc_GetAttachmentCount(pdf))
    ]
