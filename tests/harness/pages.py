"""Which bytes of a page may differ between a primary and a standby that has replayed everything.

A translation of PostgreSQL's own rules, bufmask.c and the rm_mask functions that
wal_consistency_checking uses: the LSN and checksum, hint bits, the hole, and per access method
what is changed without WAL. Everything else must be equal.
"""

import struct

BLOCK = 8192
HEADER = 24
ITEM = struct.Struct("<I")

HEAP_XACT_MASK = 0xFFF0
HEAP_XMIN_FROZEN = 0x0300
HEAP_XMAX_HINTS = 0x0400 | 0x0800

LP_NORMAL = 1


class Page:
    """A masked copy of one page."""

    def __init__(self, raw: bytes):
        self.data = bytearray(raw)
        self.flags, self.lower, self.upper, self.special = struct.unpack_from("<HHHH", raw, 10)
        self.data[0:10] = bytes(10)  # pd_lsn, pd_checksum

    def valid(self) -> bool:
        return HEADER <= self.lower <= self.upper <= self.special <= BLOCK

    def mask_hints(self) -> None:
        """PD_HAS_FREE_LINES, PD_PAGE_FULL, PD_ALL_VISIBLE and pd_prune_xid."""
        struct.pack_into("<H", self.data, 10, self.flags & ~0x0007)
        self.data[20:24] = bytes(4)

    def mask_hole(self) -> None:
        self.data[self.lower:self.upper] = bytes(self.upper - self.lower)

    def mask_content(self) -> None:
        self.data[HEADER:self.special] = bytes(self.special - HEADER)
        struct.pack_into("<HH", self.data, 12, 0, 0)

    def items(self):
        """(position of the line pointer, offset, flags, length)"""
        for position in range(HEADER, self.lower, 4):
            value = ITEM.unpack_from(self.data, position)[0]
            yield position, value & 0x7FFF, (value >> 15) & 3, value >> 17

    def mask_line_pointer_flags(self) -> None:
        """Index scans mark dead items without WAL."""
        for position, offset, flags, length in list(self.items()):
            if flags:
                ITEM.pack_into(self.data, position, offset | (length << 17))

    def mask_tuples(self) -> None:
        for _, offset, flags, length in list(self.items()):
            if flags == LP_NORMAL:
                infomask = struct.unpack_from("<H", self.data, offset + 20)[0]
                frozen = infomask & HEAP_XMIN_FROZEN == HEAP_XMIN_FROZEN
                infomask &= ~(HEAP_XMAX_HINTS if frozen else HEAP_XACT_MASK)
                struct.pack_into("<H", self.data, offset + 20, infomask & 0xFFFF)
                self.data[offset + 8:offset + 12] = bytes(4)  # t_cid: replay writes the first
            if length:
                padding = -length % 8
                self.data[offset + length:offset + length + padding] = bytes(padding)

    def mask_special(self, offset: int, form: str, keep: int) -> None:
        at = self.special + offset
        value = struct.unpack_from(form, self.data, at)[0]
        struct.pack_into(form, self.data, at, value & keep)

    def special_field(self, offset: int, form: str) -> int:
        return struct.unpack_from(form, self.data, self.special + offset)[0]


def mask_heap(page: Page) -> None:
    page.mask_hints()
    page.mask_hole()
    page.mask_tuples()


def mask_btree(page: Page) -> None:
    """Opaque: prev, next, level (4 each), flags, cycleid (2 each)."""
    page.mask_hints()
    page.mask_hole()
    flags = page.special_field(12, "<H")
    if flags & 0x01:
        page.mask_line_pointer_flags()
    page.mask_special(12, "<H", 0xFFFF & ~(0x20 | 0x40))  # BTP_SPLIT_END, BTP_HAS_GARBAGE
    page.mask_special(14, "<H", 0)


def mask_hash(page: Page) -> None:
    """Opaque: prev, next, bucket (4 each), flag, page id (2 each)."""
    page.mask_hints()
    page.mask_hole()
    flags = page.special_field(12, "<H")
    if flags & 0x0F == 0:  # LH_UNUSED_PAGE
        page.mask_content()
    elif flags & 0x03:  # overflow, bucket
        page.mask_line_pointer_flags()
        page.mask_special(12, "<H", 0xFFFF & ~0x80)  # LH_PAGE_HAS_DEAD_TUPLES


def mask_gist(page: Page) -> None:
    """Opaque: nsn (8), rightlink (4), flags, page id (2 each)."""
    page.mask_hints()
    page.mask_hole()
    page.data[page.special:page.special + 8] = bytes(8)
    page.mask_special(12, "<H", 0xFFFF & ~(0x08 | 0x10))  # F_FOLLOW_RIGHT, F_HAS_GARBAGE
    if page.special_field(12, "<H") & 0x01:
        page.mask_line_pointer_flags()


def mask_gin(page: Page) -> None:
    """Opaque: rightlink (4), maxoff, flags (2 each)."""
    page.mask_hints()
    if page.special_field(6, "<H") & 0x04:  # GIN_DELETED: replay makes an empty page, the primary keeps the links
        page.mask_content()
        page.data[page.special:page.special + 6] = bytes(6)
    elif page.lower > HEADER:
        page.mask_hole()


def mask_spgist(page: Page) -> None:
    page.mask_hints()
    if page.lower >= HEADER:
        page.mask_hole()


def mask_brin(page: Page) -> None:
    """Special: one MAXALIGN of uint16: ..., flags, type."""
    page.mask_hints()
    if page.lower > HEADER:
        page.mask_hole()
    page.mask_special(4, "<H", 0xFFFF & ~0x01)  # BRIN_EVACUATE_PAGE


MASKS = {"heap": mask_heap, "btree": mask_btree, "hash": mask_hash, "gist": mask_gist, "gin": mask_gin,
         "spgist": mask_spgist, "brin": mask_brin}


def masked(raw: bytes, method: str, block: int) -> bytes:
    if method == "spgist" and block == 0:
        return b""  # the metapage caches free pages there without WAL
    page = Page(raw)
    if not page.valid():
        return bytes(page.data)
    MASKS[method](page)
    return bytes(page.data)


def is_new(raw: bytes) -> bool:
    """pd_upper is zero: never initialised, so nothing to lose."""
    return raw[14:16] == b"\0\0"


def pages(raw: bytes):
    for at in range(0, len(raw), BLOCK):
        yield raw[at:at + BLOCK]


def differing_blocks(ours: bytes, theirs: bytes, method: str) -> list:
    """Block numbers that differ beyond the masks. A tail that only one side has must be new pages:
    relations are extended ahead of use without WAL."""
    if ours == theirs:
        return []
    found = []
    shared = min(len(ours), len(theirs))
    for at in range(0, shared, BLOCK):
        a, b = ours[at:at + BLOCK], theirs[at:at + BLOCK]
        if a != b and masked(a, method, at // BLOCK) != masked(b, method, at // BLOCK):
            found.append(at // BLOCK)
    for at in range(shared, max(len(ours), len(theirs)), BLOCK):
        if not is_new((ours if len(ours) > shared else theirs)[at:at + BLOCK]):
            found.append(at // BLOCK)
    return found


def spgist_cache_is_valid(raw: bytes) -> bool:
    """The metapage's cache of pages with free space changes without WAL, and PostgreSQL reads what
    it names: a page beyond the end of the file makes every insertion fail."""
    cached = struct.unpack_from("<16I", raw, HEADER + 4)[::2]
    return all(block == 0xFFFFFFFF or block < len(raw) // BLOCK for block in cached)
