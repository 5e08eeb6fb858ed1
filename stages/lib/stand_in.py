"""By what a network from random weights is judged where it stands in for one whose weights come later.

Preflight runs before `pretrain`, lest an hour go into broken data, so with `train.init: pretrain` it has no
pretrained body yet. A recipe for one may rightly take a rate at which random weights learn next to nothing,
and hold layers still that are worth nothing while they are random. So the stand-in learns at the rate that
the range test suggests for it, if the recipe's is lower, with every layer at the same rate; and the recipe's
own rate must not be absurdly far below that.
"""

from dataclasses import dataclass, replace

from stages.lib.checks import Check, at_least
from stages.lib.fine_tuning import Tuning
from stages.lib.preflight_subject import Subject, part_of
from stages.lib.rate_test import RateTest, rate_test
from stages.lib.recipe import Recipe
from stages.lib.schedule import scaled_rate

RATE_STEPS = 100
"""Steps of the learning-rate range test: twenty for each power of ten."""

LEAST_SHARE = 1e-4
"""Fine-tuning takes a tenth to a thousandth of the rate for random weights, and the range test wavers by half
a power of ten; a tenth of all that again is a slip of the pen, and leaves the new head as it was."""


@dataclass(frozen=True)
class Judged:
    """The subject with the recipe it is judged by, the range test, the recipe's own peak rate, and a note."""

    subject: Subject
    rates: RateTest
    own_rate: float
    note: str

    def checks(self) -> list[Check]:
        """Hold the recipe's rate against the suggested one; where none is, other checks tell why."""
        if not self.rates.suggested:
            return []
        why = (
            f"the recipe's rate is {self.own_rate:.2g}, and random weights, such as the new head's, learn at "
            f"{self.rates.suggested:.2g}: so far below, nothing will be learned"
        )
        share = self.own_rate / self.rates.suggested
        return [at_least("learning_rate_least", share, LEAST_SHARE, why)]


def range_test(subject: Subject) -> RateTest:
    """Run the learning-rate range test on what a short run learns from."""
    return rate_test(subject.network, *part_of(subject, subject.learned), subject.recipe, RATE_STEPS)


def judged(subject: Subject) -> Judged:
    """Return the stand-in with the recipe that random weights can learn by."""
    recipe = subject.recipe
    even = replace(subject, recipe=replace(recipe, tuning=Tuning()))
    rates = range_test(even)
    own = peak_rate(recipe)
    changes = []
    if recipe.tuning != Tuning():
        changes.append("with every layer learning alike")
    if own < rates.suggested:
        changes.insert(0, f"at a learning rate of {rates.suggested:.2g}, not the recipe's {own:.2g}")
        even = replace(even, recipe=at_rate(even.recipe, rates.suggested))
    words = f"judged on random weights {', '.join(changes)}: the pretrained ones come later"
    return Judged(even, rates, own, words if changes else "")


def peak_rate(recipe: Recipe) -> float:
    """Return the highest learning rate of a recipe, scaled by its batch."""
    size = recipe.batch_size
    return scaled_rate(recipe.learning_rate, size, recipe.rate_batch or size, recipe.rate_scaling)


def at_rate(recipe: Recipe, rate: float) -> Recipe:
    """Return the recipe with another peak rate; Muon's for matrices, where it has one, in step."""
    matrix = recipe.rule.matrix_rate * rate / recipe.learning_rate
    rule = replace(recipe.rule, matrix_rate=matrix)
    return replace(recipe, learning_rate=rate, rate_scaling="none", rule=rule)
