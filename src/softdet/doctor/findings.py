"""What doctor hands back: findings with places and a fix, and the report that holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["error", "warning", "note"]

LEVELS: tuple[Level, ...] = ("error", "warning", "note")
_MOST_PLACES = 1000


@dataclass(frozen=True, slots=True)
class Place:
    """Where something was found.

    Attributes:
        file: the image, as its list or folder names it; the list itself where the finding is about that.
        detail: which box, what was read, or the file's twin; may be empty.
    """

    file: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of mistake, at all of its places.

    Attributes:
        level: `error`: training would stop, or its result be wrong; `warning`: worth a look; `note`: good to know.
        code: a name that stays the same, for scripts.
        message: what, where, found against expected, and the likely reason.
        fix: what to do about it.
        places: the first thousand places.
        count: how many there are.
    """

    level: Level
    code: str
    message: str
    fix: str
    places: tuple[Place, ...]
    count: int


def found(level: Level, code: str, places: Sequence[Place], message: str, fix: str) -> list[Finding]:
    """The finding of these places, or none where there is no place."""
    return [Finding(level, code, message, fix, tuple(places[:_MOST_PLACES]), len(places))] if places else []


@dataclass(frozen=True, slots=True)
class Report:
    """All findings.

    Attributes:
        findings: errors first.
        num_images: how many images each pool has.
        is_sample: not every image was opened.
    """

    findings: tuple[Finding, ...]
    num_images: dict[str, int]
    is_sample: bool

    def of(self, level: Level) -> list[Finding]:
        """The findings of one level."""
        return [finding for finding in self.findings if finding.level == level]

    @property
    def exit_code(self) -> int:
        """1 where there is an error, else 0."""
        return 1 if self.of("error") else 0

    def summary(self) -> str:
        """One line: `2 errors, 3 warnings, 1 note in 1,204 images (labeled 60, unlabeled 1,000, valid 144)`."""
        counts = [(len(self.of(level)), level) for level in LEVELS]
        told = ", ".join(_counted(count, level) for count, level in counts if count) or "nothing wrong"
        pools = ", ".join(f"{name} {count:,}" for name, count in self.num_images.items())
        sample = "; a sample of them was opened" if self.is_sample else ""
        return f"{told} in {_counted(sum(self.num_images.values()), 'image')} ({pools}{sample})"

    def as_json(self) -> dict[str, Any]:
        """The report as plain dictionaries and lists."""
        return {
            "summary": self.summary(),
            "exit_code": self.exit_code,
            "num_images": self.num_images,
            "is_sample": self.is_sample,
            "findings": [asdict(finding) for finding in self.findings],
        }


def ordered(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Errors first, then warnings, then notes; within a level as they came."""
    return tuple(sorted(findings, key=lambda finding: LEVELS.index(finding.level)))


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")
