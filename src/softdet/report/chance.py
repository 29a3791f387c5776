"""When a gain may be chance: one rule for the line at a run's end, the report's headline and its advice."""

from __future__ import annotations

# Drawn from fewer images, an interval is far too narrow: of one image it has no width at all.
_FEW_IMAGES = 10


def has_few_images(num_images: int | None) -> bool:
    """Whether an interval is drawn from too few images to be trusted; not where their number wasn't kept."""
    return num_images is not None and num_images < _FEW_IMAGES


def may_be_chance(low: float, high: float, num_images: int | None) -> bool:
    """Whether a gain's interval includes 0 or can't be trusted."""
    return low <= 0 <= high or has_few_images(num_images)
