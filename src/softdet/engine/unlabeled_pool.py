"""Which of the unlabeled images serve: those that look unlike the labeled ones are named, and may be left out."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from softdet.data.colour import GREY
from softdet.data.datasets import ImageDataset
from softdet.data.loaders import image_batches
from softdet.files import whole_file
from softdet.models.retinanet import RetinaNet
from softdet.ops.affine import warp
from softdet.ops.distributed import gather_lists, gather_rows, world_size
from softdet.semi.far_images import Distances, distances_among, image_features, nearest_labeled
from softdet.structures import UnlabeledBatch

# Enough to tell how a pool lies; a million images would take hours only to be flagged.
MAX_LOOKED_AT = 2000
_LABELED, _UNLABELED = 21, 22  # keep the two draws apart


class UnlabeledPool:
    """Looks once, before the first step with unlabeled images, at how far each of them is from the labeled ones.

    Args:
        labeled: images.
        pool: images that are served without labels.
        num_unlabeled: so many of the pool, the first ones, are unlabeled; the rest are labeled ones that serve too.
        action: `flag` names the far ones, of a pool of more than 2,000 those among so many drawn by the seed;
            `leave_out` looks at all and serves the far ones no more.
        size: rows and columns of the canvas.
        file: where the far ones are listed.
        seed: of the run.
        batch_size: images per forward pass.
        num_workers: loader processes.
        device: of the model.
        rank: of this process; rank 0 decides and writes.
        autocast: the precision that the model runs in.
    """

    def __init__(
        self,
        labeled: ImageDataset,
        pool: ImageDataset,
        *,
        num_unlabeled: int,
        action: Literal["flag", "leave_out"],
        size: tuple[int, int],
        file: Path,
        seed: int,
        batch_size: int,
        num_workers: int,
        device: torch.device,
        rank: int = 0,
        autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.labeled = labeled
        self.pool = pool
        self.num_unlabeled = num_unlabeled
        self.action: Literal["flag", "leave_out"] = action
        self.size = size
        self.file = file
        self.seed = seed
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.device = device
        self.rank = rank
        self.autocast = autocast
        self._left_out: list[int] | None = None

    def look(self, model: nn.Module, say: Callable[[str], None]) -> None:
        """Decide which images serve, the first time that it's called; all ranks must call it.

        Args:
            model: the teacher, in evaluation mode; by now it has learned what the labeled images look like.
            say: prints a line, of rank 0 alone.
        """
        if self._left_out is not None:
            return
        assert isinstance(model, RetinaNet)
        of_labeled = self._features(model, self.labeled, self._drawn(len(self.labeled), _LABELED))
        references, labeled = self._gather(of_labeled, sum(model.backbone.channels[1:]))
        far: list[int] = []
        if not references:
            say("far images: not looked for; no labeled image can be read, or the teacher's features aren't finite")
        else:
            places = self._drawn(self.num_unlabeled, _UNLABELED if self.action == "flag" else None)
            if len(places) > MAX_LOOKED_AT:
                say(f"far images: looking at all {len(places):,} unlabeled images, to leave the far ones out")
            # Not their features: those of a large pool are gigabytes.
            measured = (
                (seen, torch.stack(nearest_labeled(features, labeled), 1))
                for seen, features in self._features(model, self.pool, places)
            )
            seen, found = self._gather(measured, 2)
            distances = Distances(found[:, 0], found[:, 1].long(), distances_among(labeled))
            far = [seen[row] for row in distances.far.nonzero().flatten().tolist()]
            say(self._describe(len(far), len(seen), distances.is_another_world))
            if self.rank == 0:
                self._write(distances, seen, references)
        # The other ranks might round differently.
        far = gather_lists(far if self.rank == 0 else [])
        self._left_out = far if self.action == "leave_out" else []

    def serving(self) -> Sequence[int] | None:
        """The images that serve, by their places in the list; None for all of them."""
        if not self._left_out:
            return None
        left_out = set(self._left_out)
        return [place for place in range(len(self.pool)) if place not in left_out]

    def state_dict(self) -> dict[str, Any]:
        """The decision, and of what; a resumed run doesn't make it anew."""
        return {"left_out": self._left_out, "of": self._asked()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken, unless other images are there now or something else is to be done."""
        if state.get("of", self._asked()) == self._asked():
            self._left_out = state["left_out"]

    def _asked(self) -> tuple[str, str]:
        # Places in a list mean nothing in another one; without folders, since a set may be moved.
        names = "\n".join(record.path.name for record in self.pool.records)
        return self.action, hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest()

    def _drawn(self, num_images: int, stream: int | None) -> list[int]:
        if stream is None or num_images <= MAX_LOOKED_AT:
            return list(range(num_images))
        rng = np.random.default_rng([self.seed, stream])
        return sorted(rng.choice(num_images, MAX_LOOKED_AT, replace=False).tolist())

    def _features(
        self, model: RetinaNet, images: ImageDataset, places: Sequence[int]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The own share of some images, batch by batch: (n,) their places and (n, C) features.

        Images that can't be read, or whose features aren't finite, are passed over.
        """
        for batch in image_batches(images, places[self.rank :: world_size()], self.batch_size, self.num_workers):
            view, content = _still(batch.to(self.device), self.size)
            with self.autocast():
                features = image_features(model, view, content).cpu()
            usable = batch.readable & features.isfinite().all(1)
            yield batch.positions[usable], features[usable]

    def _gather(self, parts: Iterable[tuple[Tensor, Tensor]], width: int) -> tuple[list[int], Tensor]:
        """Put together what all ranks found: places in rising order, and a row of so many numbers for each."""
        # A rank without any image must still say how long a row is.
        empty = torch.zeros(0, 1 + width)
        own = torch.cat([empty, *(torch.cat([places[:, None].float(), rows], 1) for places, rows in parts)])
        rows = gather_rows(own.to(self.device)).cpu()
        rows = rows[rows[:, 0].argsort()]
        return rows[:, 0].int().tolist(), rows[:, 1:]

    def _write(self, distances: Distances, places: Sequence[int], references: Sequence[int]) -> None:
        rows = distances.unlabeled.argsort(descending=True, stable=True)
        with whole_file(self.file) as draft, draft.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("file", "distance", "nearest_labeled"))
            for row in rows[distances.far[rows]].tolist():
                nearest = self.labeled.records[references[int(distances.nearest[row])]]
                distance = f"{float(distances.unlabeled[row]):.4f}"
                writer.writerow((self.pool.records[places[row]].path, distance, nearest.path))

    def _describe(self, num_far: int, num_seen: int, is_another_world: bool) -> str:
        of = f"{num_seen:,} unlabeled images"
        if num_seen < self.num_unlabeled:
            of += f" looked at, of {self.num_unlabeled:,},"
        if num_far == 0:
            text = f"far images: none of {of} looks unlike the labeled ones"
        else:
            text = f"far images: {num_far:,} of {of} look unlike the labeled ones; {self.file} names them, "
            text += "the furthest first. "
            text += (
                "They are left out from here on; look through them."
                if self.action == "leave_out"
                else "If they don't belong, take them out of the pool, or set soft_teacher.far_images=leave_out."
            )
        if is_another_world:
            text += ". " if num_far == 0 else " "
            text += "But the pool as a whole lies further from the labeled images than these from each other: "
            text += "does it show the same things, from the same cameras?"
        return text


def _still(batch: UnlabeledBatch, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Stored images on the canvas with nothing drawn, and the rows and columns that hold each picture."""
    stored_height, stored_width = batch.images.shape[-2:]
    zoom = torch.tensor([size[0] / stored_height, size[1] / stored_width], device=batch.images.device)
    matrix = torch.stack([zoom[1], zoom[0], torch.ones_like(zoom[0])]).diag()
    return warp(batch.images.float() / 255, matrix.expand(len(batch), 3, 3), size, GREY), batch.content * zoom
