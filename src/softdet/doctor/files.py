"""Image files: what can't be read, is turned, has another size than its list says, or is of an uncommon kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from softdet.doctor.facts import Facts
from softdet.doctor.findings import Finding, Level, Place, found
from softdet.doctor.pools import Picture, Pool

_SUFFIXES = {
    "JPEG": {".jpg", ".jpeg", ".jpe"},
    "MPO": {".jpg", ".jpeg", ".jpe", ".mpo"},
    "PNG": {".png"},
    "BMP": {".bmp"},
    "DIB": {".bmp"},
    "WEBP": {".webp"},
    "TIFF": {".tif", ".tiff"},
    "GIF": {".gif"},
    "PPM": {".ppm", ".pgm"},
}
_DEEP = {"I;16", "I;16B", "I;16L", "I;16N", "I", "F"}
_TRANSPARENT = {"RGBA", "LA", "PA", "La", "RGBa"}
_COMMON = {"RGB", "L", "P", "1"}
_GIGANTIC = 40_000_000
_SWAPPED = (5, 6, 7, 8)


def check_files(pool: Pool, facts: Mapping[int, Facts]) -> list[Finding]:
    """Check the files of a pool.

    Args:
        pool: any.
        facts: of each picture that was opened, by position.
    """
    seen = [(pool.pictures[number], known) for number, known in facts.items()]
    # An unlabeled image that can't be read is only missed; a labeled one takes its boxes with it.
    level: Level = "warning" if pool.name == "unlabeled" else "error"
    findings = []
    for status, code, message, fix in _STATUSES:
        places = [Place(p.name, _reason(known)) for p, known in seen if known.status == status]
        findings += found(level, code, places, f"{pool.name}: {message}", fix)
    good = [(picture, known) for picture, known in seen if known.status == "good"]
    return findings + _sizes(pool, good, level) + _turned(pool, good) + _kinds(pool, good)


_STATUSES = (
    (
        "missing",
        "file-missing",
        "images that aren't there",
        "Put them back where the list says, or take them out of it.",
    ),
    ("empty", "file-empty", "files of no bytes (a download or copy that failed?)", "Fetch them anew, or delete them."),
    ("unreadable", "file-unreadable", "files that aren't pictures, or not whole", "Replace them, or take them out."),
    (
        "cut off",
        "file-cut-off",
        "pictures that end too early (a copy that broke off?)",
        "Fetch them anew, or delete them.",
    ),
    (
        "too large",
        "file-too-large",
        "pictures too large to be opened safely",
        "Scale them down, or cut them into tiles.",
    ),
)


def _reason(known: Facts) -> str:
    size = f"{known.size[1]}x{known.size[0]}" if known.size[0] else ""
    # Some of Pillow's messages name an object in memory.
    reason = known.reason.partition(" <_io")[0]
    return ", ".join(filter(None, (size, reason)))


def _sizes(pool: Pool, good: list[tuple[Picture, Facts]], level: Level) -> list[Finding]:
    wrong = [
        Place(picture.name, f"the list says {_told(picture.size)}, the file has {_told(known.upright_size)}")
        for picture, known in good
        if picture.size is not None and picture.size not in (known.size, known.upright_size)
    ]
    return found(
        level,
        "size-differs",
        wrong,
        f"{pool.name}: images of another size than their list says (resized after they were labeled?); training leaves "
        "them out, since their boxes would lie elsewhere",
        "Restore the images that were labeled, or export the list anew.",
    )


def _turned(pool: Pool, good: list[tuple[Picture, Facts]]) -> list[Finding]:
    """Pictures whose list states their stored size: training reads them unturned, and everybody sees them upright."""
    if pool.labels is None:
        return []
    as_stored = [
        Place(picture.name, f"orientation {known.orientation}; the list says {_told(picture.size)}, as stored")
        for picture, known in good
        if known.orientation in _SWAPPED and known.size != known.upright_size and picture.size == known.size
    ]
    unsure = [
        Place(picture.name, f"orientation {known.orientation}")
        for picture, known in good
        if known.orientation != 1 and known.size == known.upright_size and picture.size == known.size
    ]
    message = (
        f"{pool.name}: pictures that EXIF turns, while their list states the size as stored. Training reads them "
        "unturned; if the boxes were drawn on the upright picture, they are all wrong"
    )
    fix = (
        "Look at a few with their boxes; store the pictures upright (mogrify -auto-orient) and export the labels anew."
    )
    findings = found("warning", "exif-turned", as_stored, message, fix)
    message = (
        f"{pool.name}: pictures that EXIF turns or mirrors without changing their size, so the list can't tell whether "
        "their boxes are meant for the upright picture. Training turns them upright"
    )
    return findings + found("note", "exif-unsure", unsure, message, fix)


def _kinds(pool: Pool, good: list[tuple[Picture, Facts]]) -> list[Finding]:
    findings = []
    for level, code, is_so, describe, message, fix in _ODD:
        places = [Place(picture.name, describe(known)) for picture, known in good if is_so(picture, known)]
        findings += found(level, code, places, f"{pool.name}: {message}", fix)
    return findings


_Is = Callable[[Picture, Facts], bool]
_ODD: tuple[tuple[Level, str, _Is, Callable[[Facts], str], str, str], ...] = (
    (
        "note",
        "wrong-extension",
        lambda picture, known: picture.path.suffix.lower() not in _SUFFIXES.get(known.format, {""}),
        lambda known: f"is {known.format}",
        "files whose ending isn't that of their format; read all the same here, by other tools perhaps not",
        "Rename them, and mend the lists.",
    ),
    (
        "note",
        "many-bits",
        lambda _, known: known.mode in _DEEP,
        lambda known: known.mode,
        "pictures of more than 8 bits; each is scaled by its own brightest pixel",
        "Where brightness means something, convert all with one scale.",
    ),
    (
        "note",
        "transparent",
        lambda _, known: known.mode in _TRANSPARENT,
        lambda known: known.mode,
        "pictures with transparency; they are laid on white",
        "Save them without, on the background that the camera would see.",
    ),
    (
        "note",
        "uncommon-colours",
        lambda _, known: known.mode not in _COMMON | _DEEP | _TRANSPARENT,
        lambda known: known.mode,
        "pictures in other colours than RGB or grey; they are converted without a colour profile",
        "Convert them with one, if their colours look wrong.",
    ),
    (
        "warning",
        "gigantic",
        lambda _, known: known.size[0] * known.size[1] > _GIGANTIC,
        lambda known: f"{_told(known.size)}",
        "pictures of more than 40 megapixels; decoding them takes seconds at every reading",
        "Scale them down, or cut them into tiles: a detector sees a few hundred pixels of each.",
    ),
)


def _told(size: tuple[int, int] | None) -> str:
    return f"{size[1]}x{size[0]}" if size else "nothing"
