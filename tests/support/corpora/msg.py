"""Mails as Outlook saves them: a Compound File (MS-CFB) of properties (MS-OXMSG)."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from datetime import datetime

Storage = Mapping[str, "bytes | Storage"]

SECTOR, MINI, CUTOFF, NONE, END = 512, 64, 4096, 0xFFFFFFFF, 0xFFFFFFFE
TEXT, BINARY, OBJECT = "001F", "0102", "000D"
SUBJECT, BODY, HTML, RTF, HEADERS = "0037", "1000", "1013", "1009", "007D"
SENDER, SENDER_ADDRESS, TO = "0C1A", "5D01", "0E04"
DATA, NAME, MEDIA_TYPE = "3701", "3707", "370E"


def msg(sent: datetime | None = None, attachments: tuple[Storage, ...] = (), **properties: str | bytes) -> bytes:
    """A mail; properties by the number of their id, behind a ``p``: text, or bytes where they are binary."""
    return compound_file(message(sent, attachments, 32, **properties))


def message(
    sent: datetime | None = None, attachments: tuple[Storage, ...] = (), head: int = 24, **properties: str | bytes
) -> Storage:
    """What is in the file of a mail, which may be in another one."""
    ticks = int((sent.timestamp() + 11_644_473_600) * 10_000_000) if sent else 0
    dates = struct.pack("<IIQ", 0x00390040, 6, ticks) if sent else b""
    made: dict[str, bytes | Storage] = {"__properties_version1.0": bytes(head) + dates, **_streams(properties)}
    for number, attachment in enumerate(attachments):
        made[f"__attach_version1.0_#{number:08X}"] = attachment
    return made


def attachment(name: str, data: bytes | Storage, media_type: str = "") -> Storage:
    """A file that is attached to a mail, or a mail (``message``)."""
    key = f"__substg1.0_{DATA}{BINARY if isinstance(data, bytes) else OBJECT}"
    return {
        "__properties_version1.0": bytes(8),
        key: data,
        **_streams({f"p{NAME}": name, f"p{MEDIA_TYPE}": media_type}),
    }


def _streams(properties: Mapping[str, str | bytes]) -> dict[str, bytes | Storage]:
    return {
        f"__substg1.0_{key[1:]}{TEXT if isinstance(value, str) else BINARY}": (
            value.encode("utf-16-le") if isinstance(value, str) else value
        )
        for key, value in properties.items()
        if value
    }


def compound_file(root: Storage) -> bytes:
    """A file of storages and streams."""
    entries: list[list[object]] = []  # name, kind, next, child, content
    _add(entries, "Root Entry", 5, root)
    minis, sectors = b"", b""
    mini_fat: list[int] = []
    fat: list[int] = []
    places = []
    for _, kind, _, _, content in entries:
        data = content if kind == 2 else b""
        if not data:
            places.append((END if kind == 2 else 0, 0))
        elif len(data) < CUTOFF:
            places.append((len(mini_fat), len(data)))
            minis += _padded(data, MINI)
            _chain(mini_fat, -(-len(data) // MINI))
        else:
            places.append((len(fat), len(data)))
            sectors += _padded(data, SECTOR)
            _chain(fat, -(-len(data) // SECTOR))
    places[0] = (len(fat) if minis else END, len(minis))
    sectors, mini_start = _stored(fat, sectors, minis), len(fat)
    table = struct.pack(f"<{len(mini_fat)}I", *mini_fat)
    sectors, mini_start = _stored(fat, sectors, table, b"\xff"), (len(fat) if mini_fat else END)
    directory = b"".join(_entry(entry, *place) for entry, place in zip(entries, places, strict=True))
    directory_start = len(fat)
    sectors = _stored(fat, sectors, directory)
    mini_start = directory_start - -(-len(table) // SECTOR) if mini_fat else END
    count = 1
    while len(fat) + count > count * SECTOR // 4:
        count += 1
    fat_start = len(fat)
    fat += [0xFFFFFFFD] * count
    sectors += _padded(struct.pack(f"<{len(fat)}I", *fat), SECTOR, b"\xff")
    header = bytes.fromhex("D0CF11E0A1B11AE1") + bytes(16)
    header += struct.pack(
        "<HHHHH6xIIIIIIIIII",
        0x3E,
        3,
        0xFFFE,
        9,
        6,
        0,
        count,
        directory_start,
        0,
        CUTOFF,
        mini_start,
        -(-len(table) // SECTOR),
        END,
        0,
        fat_start,
    )
    header += struct.pack(f"<{108}I", *(fat_start + each if each < count else NONE for each in range(1, 109)))
    return header + sectors


def _add(entries: list[list[object]], name: str, kind: int, content: bytes | Storage) -> int:
    """Adds an entry with all below it; those of a storage are a chain of right siblings in the order of the format."""
    number = len(entries)
    entry: list[object] = [name, kind, NONE, NONE, content]
    entries.append(entry)
    if not isinstance(content, bytes):
        before = None
        for key in sorted(content, key=lambda each: (len(each), each.upper())):
            child = content[key]
            added = _add(entries, key, 2 if isinstance(child, bytes) else 1, child)
            if before is None:
                entry[3] = added
            else:
                entries[before][2] = added
            before = added
    return number


def _entry(entry: list[object], start: int, size: int) -> bytes:
    name, kind, following, child, _ = entry
    encoded = f"{name}\0".encode("utf-16-le")
    head = struct.pack("<64sHBBIII", encoded, len(encoded), kind, 1, NONE, following, child)
    return head + bytes(36) + struct.pack("<IQ", start, size)


def _chain(fat: list[int], count: int) -> None:
    first = len(fat)
    fat += [*range(first + 1, first + count), END]


def _stored(fat: list[int], sectors: bytes, data: bytes, filler: bytes = b"\0") -> bytes:
    if data:
        _chain(fat, -(-len(data) // SECTOR))
    return sectors + _padded(data, SECTOR, filler)


def _padded(data: bytes, size: int, filler: bytes = b"\0") -> bytes:
    return data + filler * (-len(data) % size)
