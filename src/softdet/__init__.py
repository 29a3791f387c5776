"""softdet: train an object detector from a few labeled images and a folder of unlabeled ones.

In Python: `softdet.load("runs/mine").predict(["a.jpg", "b.jpg"])`.
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["Prediction", "Predictor", "__version__", "load"]

_PREDICTOR = frozenset({"Prediction", "Predictor", "load"})


def __getattr__(name: str) -> Any:
    """Fetch what needs torch when it is first asked for: `import softdet` stays fast."""
    if name in _PREDICTOR:
        from softdet.deploy import predictor

        return getattr(predictor, name)
    raise AttributeError(f"module 'softdet' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
