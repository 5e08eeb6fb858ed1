"""What val chooses: which views of an image, and how members are combined, "none" and "mean" among them.

A candidate replaces the plain thing only where its log loss on val is lower by more than SURE standard errors
of the paired difference: among several candidates one always looks better on a small val. What learns from
val is judged by cross-validation there.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stages.lib import metrics
from stages.lib.combining import Kind, Soup, combine, learned_weights

FOLDS = 5

SURE = 2.0
"""Standard errors that a gain must exceed. One, as Breiman et al. 1984 prune trees, would let each of several
candidates in by chance one time in six; two, one in forty."""

Learner = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From parts (S, N, K) and labels (N,) to weights (S,)."""

SoupProbs = Callable[[tuple[int, ...]], np.ndarray]
"""From places of members to what the mean of their weights says (N, K)."""


@dataclass(frozen=True)
class Choice:
    """The name that val chose, its weights over views or members (S,), and each candidate's figures on val.

    figures: {name: {log_loss, top1_accuracy, gain, gain_se}}, gain and its standard error in log loss, nats.
    """

    name: str
    weights: np.ndarray
    figures: Mapping[str, Mapping[str, float]]


def choose_views(view_probs: np.ndarray, weights: np.ndarray, labels: np.ndarray) -> Choice:
    """Choose among no further view, all listed views, and those that help when added one at a time.

    view_probs (V, N, K): the first is the plain picture, the others are the listed views with weights (V,),
    0 for the plain picture where it is not listed.
    """
    plain = np.zeros(len(weights))
    plain[0] = 1.0
    candidates = {"none": plain, "listed": weights / weights.sum()}
    candidates["added"] = _added(view_probs, labels)
    probs = {name: combine(view_probs, given, False) for name, given in candidates.items()}
    # What "added" gained was found on these very samples, so it is judged out of fold.
    probs["added"] = _out_of_fold(view_probs, labels, _added, False)
    name, figures = _chosen(probs, labels, "none")
    return Choice(name, candidates[name], figures)


def choose_combination(
    parts: np.ndarray, labels: np.ndarray, kinds: Sequence[Kind | Soup], soup_probs: SoupProbs | None = None
) -> Choice:
    """Choose how members (S, N, K) are combined; `mean` is always a candidate.

    soup_probs gives what the mean of the weights of the members at some places says of the same samples
    (N, K); without it soups are no candidates. A soup's weights say which members are in it.
    """
    probs: dict[str, np.ndarray] = {}
    weights: dict[str, np.ndarray] = {}
    plain: tuple[Kind, ...] = ("mean",)
    for kind in (*plain, *(kind for kind in kinds if kind not in plain)):
        if kind == "soup" or kind == "greedy_soup":
            if soup_probs is not None:
                probs[kind], weights[kind] = _soup(kind, parts, labels, soup_probs)
            continue
        geometric = kind == "geometric"
        weights[kind] = learned_weights(kind, parts, labels)
        learns = kind in ("weighted", "greedy")

        def learn(some: np.ndarray, known: np.ndarray, kind: Kind = kind) -> np.ndarray:
            return learned_weights(kind, some, known)

        probs[kind] = (
            _out_of_fold(parts, labels, learn, geometric)
            if learns
            else combine(parts, weights[kind], geometric)
        )
    name, figures = _chosen(probs, labels, "mean")
    return Choice(name, weights[name], figures)


def members_in(weights: np.ndarray) -> tuple[int, ...]:
    """Return the places of the members that a soup's weights (S,) say are in it."""
    return tuple(np.flatnonzero(weights).tolist())


def _soup(
    kind: Soup, parts: np.ndarray, labels: np.ndarray, soup_probs: SoupProbs
) -> tuple[np.ndarray, np.ndarray]:
    """Return a soup's probabilities (N, K), out of fold where val chose its members, and its weights (S,)."""
    everybody = tuple(range(len(parts)))
    if kind == "soup":
        return soup_probs(everybody), np.full(len(parts), 1 / len(parts))
    found = np.empty(parts.shape[1:])
    for held, rest in _folds(len(labels)):
        found[held] = soup_probs(_greedy_soup(parts, labels, soup_probs, rest))[held]
    inside = _greedy_soup(parts, labels, soup_probs, np.ones(len(labels), bool))
    return found, np.isin(everybody, inside) / len(inside)


def _greedy_soup(
    parts: np.ndarray, labels: np.ndarray, soup_probs: SoupProbs, known: np.ndarray
) -> tuple[int, ...]:
    """Return which members to average: the best one, then each next one that does not harm (Wortsman et al.).

    By log loss on the samples `known` (N,), which tells more of a small val than accuracy does.
    """
    losses = [metrics.log_loss(part[known], labels[known]) for part in parts]
    order = np.argsort(losses, kind="stable").tolist()
    inside, best = (order[0],), losses[order[0]]
    for place in order[1:]:
        tried = tuple(sorted((*inside, place)))
        loss = metrics.log_loss(soup_probs(tried)[known], labels[known])
        if loss <= best:
            inside, best = tried, loss
    return inside


def _added(view_probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the weights of the plain picture and of views that lower the log loss, added one at a time."""
    kept = [0]
    best = metrics.log_loss(view_probs[0], labels)
    while len(kept) < len(view_probs):
        rest = [view for view in range(len(view_probs)) if view not in kept]
        losses = [metrics.log_loss(view_probs[[*kept, view]].mean(axis=0), labels) for view in rest]
        if min(losses) >= best:
            break
        best = min(losses)
        kept.append(rest[int(np.argmin(losses))])
    weights = np.zeros(len(view_probs))
    weights[kept] = 1 / len(kept)
    return weights


def _out_of_fold(parts: np.ndarray, labels: np.ndarray, learn: Learner, geometric: bool) -> np.ndarray:
    """Return (N, K) combined with weights that were learned on the other folds."""
    found = np.empty(parts.shape[1:])
    for held, known in _folds(len(labels)):
        weights = learn(parts[:, known], labels[known])
        found[held] = combine(parts[:, held], weights, geometric)
    return found


def _folds(n: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (held out, learned from) as masks (n,); one sample is both."""
    fold = np.arange(n) % min(FOLDS, n)
    for held in np.unique(fold):
        out, rest = fold == held, fold != held
        yield out, rest if rest.any() else out


def _chosen(
    probs: Mapping[str, np.ndarray], labels: np.ndarray, plain: str
) -> tuple[str, dict[str, dict[str, float]]]:
    losses = {name: metrics.log_losses(found, labels) for name, found in probs.items()}
    figures = {}
    for name, found in probs.items():
        gains = losses[plain] - losses[name]
        # One sample tells nothing of its error: as large as the gain, it rules the gain out.
        alone = len(gains) < 2
        error = abs(float(gains[0])) if alone else float(gains.std(ddof=1) / np.sqrt(len(gains)))
        figures[name] = {
            "log_loss": float(losses[name].mean()),
            "top1_accuracy": float(np.mean(metrics.top1(found) == labels)),
            "gain": float(gains.mean()),
            "gain_se": error,
        }
    better = [name for name, record in figures.items() if record["gain"] > SURE * record["gain_se"]]
    return min(better, key=lambda name: figures[name]["log_loss"], default=plain), figures
