"""How many of the files in a file are read, and what each of them says of where it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from embedder_assets.corpus.extract.extracted import Extracted, Omission
from embedder_assets.corpus.extract.mail.mail_text import MAX_ATTACHMENTS

MAX_MAIL_LEVELS = 5


def attached(extracted: Extracted, mails: Sequence[str]) -> Extracted:
    """The same, with the mail that it is attached to; ``mails`` are those that it is in, from the outermost on."""
    return replace(extracted, metadata=extracted.metadata | {"attached_to": mails[-1]}) if mails else extracted


@dataclass
class AttachmentRoom:
    """How many attachments of one file may still be read, also those of mails that are attached."""

    left: int = MAX_ATTACHMENTS

    def take(self, extracted: Extracted, level: int) -> Extracted:
        """The same with those attachments alone that there is room for; the others are an omission."""
        kept = extracted.attachments[: self.left] if level < MAX_MAIL_LEVELS else ()
        self.left -= len(kept)
        lost = len(extracted.attachments) - len(kept)
        if not lost:
            return extracted
        why = f"{lost} deeper than {MAX_MAIL_LEVELS} mails in each other, or beyond {MAX_ATTACHMENTS} in one file."
        before = [each for each in extracted.omissions if each.part == "attachment"]
        count, detail = lost + sum(each.count for each in before), " ".join([*(each.detail for each in before), why])
        others = [each for each in extracted.omissions if each not in before]
        return replace(extracted, attachments=kept, omissions=(*others, Omission("attachment", count, detail)))
