"""Control words and signs of RTF that stand for a character, mark text, or begin what is left out."""

from __future__ import annotations

CHARACTERS = {
    "tab": "\t",
    "line": "\n",
    "lbr": "\n",
    "page": "\n",  # it ends a word
    "column": "\n",
    "emdash": "—",
    "endash": "–",  # noqa: RUF001
    "emspace": " ",
    "enspace": " ",
    "qmspace": " ",
    "bullet": "•",
    "lquote": "‘",  # noqa: RUF001
    "rquote": "’",  # noqa: RUF001
    "ldblquote": "“",
    "rdblquote": "”",
    "zwj": "\u200d",
    "zwnj": "\u200c",
}
SIGNS = {"~": "\xa0", "_": "-", "-": "", "\\": "\\", "{": "{", "}": "}", "\t": "\t"}
MARKS = {
    "b": "strong",
    "i": "em",
    "strike": "s",
    "striked": "s",
    "super": "sup",
    "sub": "sub",
}
HIDDEN = {"v": "hidden text", "deleted": "deletion"}
# Groups that are left out whole, and what each is; nothing is named of those that are furniture of the file.
DROPPED = {
    "annotation": "comment",
    "mmathPict": "",
    **dict.fromkeys(("atnid", "atnauthor", "atndate", "atnref", "atnparent", "atrfstart", "atrfend"), ""),
    **dict.fromkeys(("nonshppict", "shprslt", "nonesttables", "colortbl", "filetbl", "template"), ""),
    **dict.fromkeys(("xe", "rxe", "txe", "tc", "tcn", "pntxta", "pntxtb", "pnseclvl", "private"), ""),
    **dict.fromkeys(("ftnsep", "ftnsepc", "ftncn", "aftnsep", "aftnsepc", "aftncn", "background"), ""),
    **dict.fromkeys(("listtable", "listoverridetable", "revtbl", "rsidtbl", "generator", "themedata"), ""),
    **dict.fromkeys(("bkmkstart", "bkmkend", "datafield", "ffname", "ffformat", "ffhelptext", "ffstattext"), ""),
    **dict.fromkeys(("objname", "objalias", "objsect", "falt", "panose", "fontemb", "keycode", "ffdeftext"), ""),
}
# Groups that a reader may leave out, and that hold what is read here.
TRANSPARENT = {"shpinst", "shppict", "shpgrp", "do", "picprop", "formfield", "result"}
DETAILS = {
    "comment": "Comments are not part of the document.",
    "deletion": "Accept or reject the tracked changes to settle what the document says.",
    "embedded file": "Save it as a document of its own.",
    "equation": "It is an object of an earlier equation editor; convert it in Word to have it read.",
    "hidden text": "It is formatted as hidden.",
    "image without description": "A description of the image becomes text.",
    "symbol": "It is a character of a font that gives no word for it.",
    "undecodable byte": "It is none of the encoding that its font names; U+FFFD stands for it.",
    "table of contents entry": "The headings are in the text.",
}
