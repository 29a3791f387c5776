"""The run folder: what lies where, and who may write into it."""

from __future__ import annotations

import json
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

import softdet
from softdet.errors import RunError
from softdet.files import write_json


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Names of the files of a run."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved config; re-runs the run."""
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        """One row per logged step."""
        return self.path / "metrics.csv"

    @property
    def checkpoint(self) -> Path:
        """The state to resume from."""
        return self.path / "checkpoint.pt"

    @property
    def best(self) -> Path:
        """The result: the detector with the highest validation AP."""
        return self.path / "weights" / "best.safetensors"

    @property
    def last(self) -> Path:
        """The detector of the last evaluation."""
        return self.path / "weights" / "last.safetensors"

    @property
    def detections(self) -> Path:
        """The detections of `best` on the validation images, in COCO's format."""
        return self.path / "detections.json"

    @property
    def evaluation(self) -> Path:
        """The numbers of `best` on the validation images."""
        return self.path / "eval" / "valid.json"

    @property
    def test_evaluation(self) -> Path:
        """The numbers of `best` on the test images, where the config names some."""
        return self.path / "eval" / "test.json"

    @property
    def control(self) -> RunFolder:
        """The run of the supervised control inside this one, where it was asked for."""
        return RunFolder(self.path / "control")

    @property
    def burn_in(self) -> Path:
        """A control's state at the end of the burn-in; there until the other arm has started from it."""
        return self.path / "burn_in.pt"

    @property
    def outcome(self) -> Path:
        """Which arm won; in a run with a control."""
        return self.path / "outcome.json"

    @property
    def far_images(self) -> Path:
        """The unlabeled images that look unlike the labeled ones."""
        return self.path / "far_images.csv"

    @property
    def gallery(self) -> Path:
        """What teacher and student saw in the same unlabeled images, a line for each evaluation."""
        return self.path / "gallery.jsonl"

    @property
    def thumbnails(self) -> Path:
        """Small copies of these images."""
        return self.path / "gallery"

    @property
    def plots(self) -> Path:
        """Curves and scores as SVG files."""
        return self.path / "plots"

    @property
    def pictures(self) -> Path:
        """A batch as the student sees it, and detections beside the truth."""
        return self.path / "pictures"

    @property
    def report(self) -> Path:
        """What `softdet report` writes."""
        return self.path / "report.html"

    @property
    def doctor(self) -> Path:
        """What doctor found in the run's data, at its start or when it was asked to write here."""
        return self.path / "doctor.json"

    @property
    def pseudo_labels(self) -> Path:
        """What `softdet pseudo-label` has handed out, a line an image; `softdet merge` compares with it."""
        return self.path / "pseudo_labels.jsonl"

    @property
    def environment(self) -> Path:
        """Versions and the device."""
        return self.path / "environment.json"

    @property
    def data(self) -> Path:
        """The lists of images that were made of what `--labeled` and its like name."""
        return self.path / "data"

    @property
    def new_data(self) -> Path:
        """The same while it isn't sure yet that they can be used, and an earlier run may still be here."""
        return self.path / ".new_data"

    @property
    def lock(self) -> Path:
        """There while a command trains here; see `sole_writer`."""
        return self.path / ".lock"

    def claim(self, fabric: Fabric, *, resume: bool, overwrite: bool) -> None:
        """Make sure that starting here loses nothing, and empty the folder but for `new_data`; rank 0 decides for all.

        Args:
            fabric: launched.
            resume: go on with the run that is here.
            overwrite: delete the run that is here.

        Raises:
            RunError: there is a run, and neither was asked for; or none to resume.
        """
        self.check(fabric, resume=resume, overwrite=overwrite)
        refusal = self._make_empty() if fabric.is_global_zero and not resume else None
        if refusal := fabric.broadcast(refusal):
            raise RunError(refusal)

    def check(self, fabric: Fabric, *, resume: bool, overwrite: bool) -> None:
        """The same, before anything is emptied."""
        refusal = self._why_not(resume=resume, overwrite=overwrite) if fabric.is_global_zero else None
        if refusal := fabric.broadcast(refusal):
            raise RunError(refusal)

    def _why_not(self, *, resume: bool, overwrite: bool) -> str | None:
        if resume:
            if self.checkpoint.is_file() or self.control.checkpoint.is_file():
                return None
            anew = "with --overwrite instead of --resume" if self.config.is_file() else "without --resume"
            return f"{self.path}: nothing to resume, there is no {self.checkpoint.name}. Start it anew, {anew}."
        if self.path.exists() and not self.path.is_dir():
            return f"{self.path} is a file, and a run needs a folder. Choose another model.exp_path."
        # A run that failed before its first step leaves nothing but these behind: nothing to lose. Without its note of
        # the environment, a config beside a folder `data` is a user's project.
        own = {self.environment, self.config, self.data, self.pictures} if self._is_of_softdet() else set()
        leftovers = {self.new_data, self.lock} | own
        if not self.path.is_dir() or set(self.path.iterdir()) <= leftovers:
            return None
        if not (self.config.is_file() and self._is_of_softdet()):
            return (
                f"{self.path} holds files that no run of softdet wrote (a run has both {self.config.name} and "
                f"{self.environment.name}), so --overwrite won't delete them. Choose another model.exp_path."
            )
        if not overwrite:
            has_state = self.checkpoint.is_file() or self.control.checkpoint.is_file()
            resuming = f"`softdet train --resume {self.path}` to go on with that run, " if has_state else ""
            return (
                f"{self.path} already holds files. Choose: {resuming}--overwrite to delete the run that is there, or "
                "model.exp_path=ANOTHER_FOLDER."
            )
        return None

    def _is_of_softdet(self) -> bool:
        try:
            return "softdet" in json.loads(self.environment.read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError):
            return False

    def _make_empty(self) -> str | None:
        # The folder itself stays: it may be a link, or where a disk is mounted.
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for entry in set(self.path.iterdir()) - {self.new_data, self.lock}:
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()
        except OSError as error:
            return f"model.exp_path: {self.path} can't be written ({error.strerror or error}). Choose another folder."
        return None

    def require_result(self) -> None:
        """Make sure that there is a detector to evaluate.

        Raises:
            RunError: there is none.
        """
        if not self.best.is_file():
            raise RunError(
                f"{self.path}: there is no {self.best.relative_to(self.path)}. Is this a run folder, and has the run "
                "reached its first evaluation?"
            )

    def write_environment(self, device: torch.device) -> None:
        """Note versions and the device, so that numbers can be traced."""
        facts: dict[str, Any] = {
            "softdet": softdet.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "system": platform.platform(),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            "threads": torch.get_num_threads(),
        }
        write_json(self.environment, facts)
