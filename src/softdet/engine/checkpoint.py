"""The state of a run that is not over yet: all that an exact resume needs."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

import softdet
from softdet.errors import RunError
from softdet.files import whole_file


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint, whole or not at all, and in it under `version` softdet's own.

    Raises:
        RunError: it can't be written; the one before it is as it was.
    """
    try:
        with whole_file(path) as draft:
            torch.save(state | {"version": softdet.__version__}, draft)
    # On a full disk torch speaks of a position in its own file, if at all.
    except (OSError, RuntimeError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error).partition("\n")[0]
        raise RunError(
            f"{path} can't be written ({reason}). Is the disk full? Make room; what was saved before is whole, and "
            "`softdet train --resume RUN` goes on from there."
        ) from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU, tensors and plain values only.

    Raises:
        RunError: there is none, or it can't be read.
    """
    if not path.is_file():
        raise RunError(f"there is no checkpoint {path}: nothing to resume. Start the run without --resume.")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, LookupError, ValueError, pickle.UnpicklingError) as error:
        # Of torch's long texts the first sentence tells what was met.
        reason = str(error).partition("\n")[0].partition(". ")[0] or type(error).__name__
        raise RunError(
            f"{path} can't be read as a checkpoint ({reason}). Was it cut off while copied? Put the whole file back, "
            "or start the run anew with --overwrite."
        ) from error
    return state


def misfit(path: Path, state: dict[str, Any], error: Exception) -> RunError:
    """The error to raise where a checkpoint was read whole and yet can't be loaded into the run.

    Args:
        path: of the checkpoint.
        state: what was read.
        error: what loading it met.
    """
    reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    writer = state.get("version")
    likely = (
        "Was the architecture, the classes or the method in its config.yaml changed since it was written? Undo that,"
    )
    if writer not in (None, softdet.__version__):
        likely = f"softdet {writer} wrote it, this is {softdet.__version__}. Finish it with the version that began it,"
    return RunError(f"{path} doesn't fit the run ({reason}). {likely} or start a new run.")
