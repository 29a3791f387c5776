"""Is the semi-supervised half of a run well? A named state, read off running averages, and the knob to turn.

A healthy run keeps its pseudo boxes at or below the labeled density, and pseudo losses that outgrow the true ones wreck
the model unseen (METHOD, traps 9 and 10). All numbers that come in are the same on every rank, and so are the states.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from softdet.data.density import LabeledDensity
from softdet.semi.mitigation import MIN_THRESHOLD, Knobs, Mitigation

State = Literal["warming up", "healthy", "starving", "exploding", "collapsed"]

# Parts of the labeled density; of the labeled losses after the burn-in.
_STARVING, _EXPLODING, MAX_LOSS_RATIO = 0.1, 3.0, 10.0
# Of the best AP: half of it, unless it is so small that this is chance; or three quarters if also ten points are lost:
# bootstraps over 50 to 67 validation images have standard deviations of about two points.
_HALF, _MIN_BEST_AP, _THREE_QUARTERS, _POINTS = 0.5, 0.05, 0.75, 0.1
# A threshold that leaves so little that raising it is no remedy.
_SURE = 0.9
# A state is left a little later than it's entered, so that a number on the border doesn't toggle it.
_SLACK = 1.25
_BROKEN_STEPS = 5
# Expected boxes that tell "none" from "none by chance": of all classes, and of one.
_EVIDENCE, _CLASS_EVIDENCE = 20.0, 10.0


@dataclass(frozen=True, slots=True)
class Health:
    """How a run does: the numbers seen against those expected and, where something is wrong, the knob to turn."""

    state: State
    advice: str


@dataclass
class _Memory:
    """All that a resumed run needs."""

    state: State = "warming up"
    advice: str = "no unlabeled image so far"
    steps: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    skipped: float = 0.0
    broken: int = 0
    labeled_losses_then: float = 0.0
    without_candidates: int = 0
    candidates_before: float = 0.0
    ap: float | None = None
    student_ap: float | None = None
    best_ap: float = 0.0


class HealthMonitor:
    """Follows a run and says how it does.

    Law: the same numbers give the same states, and `load_state_dict(state_dict())` changes nothing that follows.

    Args:
        density: of the labeled images; not 0.
        knobs: the method.
        images_per_step: unlabeled ones, over all ranks.
        settled_from: the first step after burn-in and ramp; before it only a collapse is told.
        window: steps that the averages reach back; more where boxes are so rare that chance would decide.
        mitigate: turn the knob too: starving lowers the threshold where that helps, exploding halves the unsupervised
            weight, a collapse freezes it at 0.
        gentler: what to do to teach in a way that is less prone to collapse; empty where the method does.
    """

    def __init__(
        self,
        density: LabeledDensity,
        knobs: Knobs,
        *,
        images_per_step: int,
        settled_from: int,
        window: int = 50,
        mitigate: bool = False,
        gentler: str = "",
    ) -> None:
        self.density = density
        self.knobs = knobs
        self.images_per_step = images_per_step
        self.settled_from = settled_from
        self.window = min(max(window, math.ceil(_EVIDENCE / (density.boxes * images_per_step))), 20 * window)
        self.mitigate = mitigate
        self.gentler = gentler
        self._memory = _Memory()
        self._mitigation = Mitigation()

    @property
    def health(self) -> Health:
        """The state now, and what to do."""
        return Health(self._memory.state, self._memory.advice)

    @property
    def state(self) -> State:
        """The state alone."""
        return self._memory.state

    def observe_step(self, step: int, metrics: Mapping[str, float]) -> list[str]:
        """Take the numbers of a step; one without unlabeled images says nothing.

        Args:
            step: counted from 0.
            metrics: its losses and statistics, and the run's `skipped_steps`; the same on every rank.

        Returns:
            Lines to print: one where the state has changed, one for each knob turned.
        """
        memory, skipped = self._memory, metrics["skipped_steps"]
        was_skipped, memory.skipped = skipped > memory.skipped, skipped
        if "pseudo_boxes" not in metrics:
            return []
        memory.steps += 1
        for name, value in metrics.items():
            self._average(name, value, self.window)
        self._average("recent_pseudo_boxes", metrics["pseudo_boxes"], math.ceil(self.window / 4))
        memory.broken = memory.broken + 1 if was_skipped or metrics["teacher_finite"] < 1 else 0
        if metrics["pseudo_candidates"] > 0:
            memory.without_candidates, memory.candidates_before = 0, self._mean("pseudo_candidates")
        else:
            memory.without_candidates += 1
        return self._update(step)

    def observe_evaluation(self, step: int, ap: float, student_ap: float | None = None) -> list[str]:
        """Take the validation AP of the teacher, and of the student where it is evaluated; returns lines likewise."""
        memory = self._memory
        memory.best_ap = max(memory.best_ap, ap)
        # What happens to the AP in the burn-in is none of the unlabeled images' doing.
        if memory.steps == 0:
            return []
        memory.ap, memory.student_ap = ap, student_ap
        return self._update(step)

    def columns(self) -> dict[str, float | str]:
        """For the metrics: the state, the averaged ratio of the losses and agreement, and what was mitigated."""
        columns: dict[str, float | str] = {"health": self._memory.state}
        if self._memory.steps:
            columns["loss_ratio"] = self._ratio()
        if (agreement := self._agreement()) is not None:
            columns["agreement"] = agreement
        if self.mitigate:
            columns["mitigations"] = self._mitigation.acts
            columns["score_threshold"] = self.knobs.score_threshold
            columns["unsupervised_weight"] = self.knobs.unsupervised_weight
        return columns

    def state_dict(self) -> dict[str, Any]:
        """Averages, counts and the state, and what was turned."""
        return asdict(self._memory) | {"mitigation": asdict(self._mitigation)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        seen = {name: value for name, value in state.items() if name != "mitigation"}
        self._memory = _Memory(**seen | {name: dict(seen[name]) for name in ("sums", "weights")})
        self._mitigation = Mitigation(**state["mitigation"])

    def _average(self, name: str, value: float, window: int) -> None:
        if math.isfinite(value):
            for table, seen in ((self._memory.sums, value), (self._memory.weights, 1.0)):
                table[name] = table.get(name, 0.0) + (seen - table.get(name, 0.0)) / window

    def _mean(self, name: str) -> float:
        return self._memory.sums.get(name, 0.0) / self._memory.weights.get(name, 1.0)

    def _update(self, step: int) -> list[str]:
        health = self._diagnose(step)
        has_changed = health.state != self._memory.state
        self._memory.state, self._memory.advice = health.state, health.advice
        lines = [f"step {step + 1}: health: {health.state}: {health.advice}"] if has_changed else []
        if not self.mitigate:
            return lines
        return lines + self._mitigation.act(self.knobs, health.state, step, sees_more=self._sees_more())

    def _diagnose(self, step: int) -> Health:
        if advice := self._collapse():
            return Health("collapsed", advice)
        if step < self.settled_from or self._memory.steps < self.window:
            return Health("warming up", self._numbers())
        self._memory.labeled_losses_then = self._memory.labeled_losses_then or self._labeled_losses()
        if advice := self._explosion():
            return Health("exploding", advice)
        if advice := self._starvation():
            return Health("starving", advice)
        return Health("healthy", self._numbers() + self._uneven_classes())

    def _collapse(self) -> str | None:
        memory = self._memory
        weaker = f"lower soft_teacher.unsup_loss_weight (now {self.knobs.unsupervised_weight:g})"
        if memory.broken >= _BROKEN_STEPS:
            return (
                f"the teacher's output or the gradients were not finite for {memory.broken} steps in a row: lower "
                "optimizer.lr, or set params.precision to 32-true where it is 16-mixed, and start anew"
            )
        missed = memory.candidates_before * self.images_per_step * memory.without_candidates
        if memory.without_candidates >= _BROKEN_STEPS and missed >= _EVIDENCE:
            return (
                f"the teacher finds nothing at all any more, {memory.candidates_before:.3g} candidates an image "
                f"before: {weaker} or raise soft_teacher.ema_decay, and start anew"
            )
        if memory.ap is not None and memory.best_ap >= _MIN_BEST_AP and memory.ap < self._lowest_sound_ap():
            student = "" if memory.student_ap is None else f" (student {100 * memory.student_ap:.1f})"
            ways = [self.gentler, weaker] if self.gentler else [weaker]
            if self.knobs.score_threshold < _SURE:
                ways.append(f"raise soft_teacher.pseudo_cls_th (now {self.knobs.score_threshold:g})")
            return (
                f"the teacher's mAP is {100 * memory.ap:.1f}{student}, its best was {100 * memory.best_ap:.1f}: "
                f"{' or '.join(ways)}, and start anew"
            )
        return None

    def _lowest_sound_ap(self) -> float:
        best = self._memory.best_ap
        limit = max(_HALF * best, min(_THREE_QUARTERS * best, best - _POINTS))
        return (limit + best) / 2 if self._memory.state == "collapsed" else limit

    def _explosion(self) -> str | None:
        weight = f"soft_teacher.unsup_loss_weight (now {self.knobs.unsupervised_weight:g})"
        if self._ratio() > MAX_LOSS_RATIO / self._slack("exploding"):
            return f"{self._losses()}, expected below {MAX_LOSS_RATIO:g}: lower {weight}"
        too_many = self._mean("pseudo_boxes") > _EXPLODING * self.density.boxes / self._slack("exploding")
        falling = self._mean("recent_pseudo_boxes") < 0.9 * self._mean("pseudo_boxes")
        if too_many and (self._memory.state == "exploding" or not falling):
            return (
                f"{self._boxes()}: raise soft_teacher.pseudo_cls_th (now {self.knobs.score_threshold:g}) or lower "
                f"{weight}, unless the labeled images lack most of their boxes{self._uneven_classes()}"
            )
        return None

    def _starvation(self) -> str | None:
        limit, filled = _STARVING * self._slack("starving"), 1 - self._mean("empty_images")
        if self._mean("pseudo_boxes") >= limit * self.density.boxes and filled >= limit * self.density.filled:
            return None
        found = f"{self._boxes()}; {filled:.1%} of the images have one, of the labeled images {self.density.filled:.0%}"
        if not self._sees_more():
            return f"{found}; the teacher hardly sees more: give it a longer soft_teacher.burn_in_steps"
        now = f"now {self.knobs.score_threshold:g}"
        return f"{found}: lower soft_teacher.pseudo_cls_th ({now}){self._uneven_classes()}"

    def _sees_more(self) -> bool:
        """Whether there is something that a lower threshold would let through."""
        candidates = self._mean("pseudo_candidates")
        is_high = self.knobs.score_threshold > MIN_THRESHOLD
        # Without slack: what is advised before the state has changed must be what is done after it.
        return is_high and candidates >= _STARVING * self.density.boxes

    def _uneven_classes(self) -> str:
        """Those far from what the labels hold, by more than chance; one class is what all of the boxes are."""
        images, starved, flooded = self.images_per_step * self.window, list[str](), list[str]()
        for name, expected in self.density.by_class.items():
            found = self._mean(f"pseudo_boxes/{name}")
            if expected * images >= _CLASS_EVIDENCE and found < _STARVING * expected:
                starved.append(name)
            elif found * images >= _CLASS_EVIDENCE and found > _EXPLODING * expected and len(self.density.by_class) > 1:
                flooded.append(name)
        return _named("hardly a pseudo box for", starved) + _named("far more pseudo boxes than labels for", flooded)

    def _numbers(self) -> str:
        agreement = self._agreement()
        agreed = "" if agreement is None else f", teacher and student agree on {agreement:.0%}"
        return f"{self._boxes()}, {self._mean('empty_images'):.0%} of the images empty, {self._losses()}{agreed}"

    def _boxes(self) -> str:
        return f"{self._mean('pseudo_boxes'):.2g} pseudo boxes an image, labeled images have {self.density.boxes:.2g}"

    def _losses(self) -> str:
        return f"the unlabeled images' losses are {self._ratio():.2g} times the labeled ones' after the burn-in"

    def _ratio(self) -> float:
        # The labeled losses of then: they fall on, towards 0 where few images are known by heart, and nothing explodes.
        # Of averages: an average of ratios would be ruled by the steps whose labeled images happen to be empty.
        known = self._labeled_losses()
        return (self._mean("loss") - known) / max(known, self._memory.labeled_losses_then, 1e-9)

    def _labeled_losses(self) -> float:
        return self._mean("supervised_class") + self._mean("supervised_box")

    def _agreement(self) -> float | None:
        taught = self._mean("anchors_taught")
        return self._mean("anchors_agreed") / taught if taught else None

    def _slack(self, state: State) -> float:
        return _SLACK if self._memory.state == state else 1.0


def _named(what: str, classes: list[str]) -> str:
    more = f" and {len(classes) - 5} more" if len(classes) > 5 else ""
    return f"; {what} {', '.join(classes[:5])}{more}" if classes else ""
