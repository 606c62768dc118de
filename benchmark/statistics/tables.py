"""The tables: every number with its interval, its floor, and what it was compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace

import numpy as np
import pandas as pd
from scipy import sparse
from scipy import stats as distributions

from benchmark.api import (
    ORIGIN,
    Floats,
    InputError,
    IntArray,
    Metric,
    PerImage,
    Predictions,
    Weighted,
)
from benchmark.measures.bins import Groups, equal_width_bins
from benchmark.measures.declared import metrics as declared
from benchmark.measures.declared import ranked, select
from benchmark.measures.inversion import floor_draws, inversion_intervals, noise_floor
from benchmark.measures.kinds import Binned, Relabelled
from benchmark.plan.seeding import derive
from benchmark.statistics import comparison, intervals
from benchmark.statistics.blocks import KEY, Block, build, expected, join_folds, ordered
from benchmark.statistics.intervals import Bootstrap

FEW_ERRORS = 30
"""Below so many errors the coverage of the intervals is not guaranteed (measured)."""

FEW_GROUPS = 10
"""Nor is it where the errors lie in fewer groups than these, counted as equal ones."""

SCORE_COLUMNS = (*ORIGIN, "metric", "value")


@dataclass(frozen=True, eq=False)
class Tables:
    """All that the report shows.

    Attributes:
        values: one row per preset, dataset, backbone, folds, method, metric.
        ranks: one row per block and method.
        pairs: one row per block, metric, method and reference.
        overall: one row per metric over all blocks.
        mean_ranks: one row per metric and method over all blocks.
        notes: small print, in sentences.
    """

    values: pd.DataFrame
    ranks: pd.DataFrame
    pairs: pd.DataFrame
    overall: pd.DataFrame
    mean_ranks: pd.DataFrame
    notes: tuple[str, ...]


# --- scores --------------------------------------------------------------------------------


def scores(
    predictions: Sequence[Predictions], metrics: Sequence[str] | None = None, seed: int = 0
) -> pd.DataFrame:
    """Tidy scores: one row per replicate and metric, and the pooled (primary) ones.

    Args:
        predictions: of any methods, data sets and replicates.
        metrics: names; None means all that can be computed.
        seed: where the noise floors' label draws start.

    Returns:
        Columns preset, dataset, backbone, method, fold, seed, metric, value, in a fixed order.
        Rows with fold ``pooled`` hold the value of all test images of that seed together; they
        are there for seeds of which no fold is missing.

    Raises:
        InputError: a metric or fold is unknown, or a replicate occurs twice.
    """
    arranged = ordered(predictions)
    frame = _scores(arranged, metrics, seed)
    pooled = []
    for folds in _by_seed(arranged):
        if {p.origin.replicate for p in folds} == expected(p.origin.replicate for p in folds):
            pooled.append(join_folds(folds))
    return pd.concat([frame, _scores(pooled, metrics, seed)], ignore_index=True)


def _by_seed(arranged: Sequence[Predictions]) -> list[list[Predictions]]:
    together: dict[tuple[object, ...], list[Predictions]] = {}
    for p in arranged:
        together.setdefault((p.origin.block, p.origin.method, p.origin.seed), []).append(p)
    return list(together.values())


def _scores(
    predictions: Sequence[Predictions], metrics: Sequence[str] | None, seed: int
) -> pd.DataFrame:
    rows = []
    for p in predictions:
        sample = replace(p, draw_seed=seed)
        rows += [
            (*astuple(p.origin), m.name, m.value(sample))
            for m in select(metrics, p.posterior is not None)
        ]
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS))


# --- one metric of one block ---------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Estimates:
    """One metric of all methods of a block.

    Attributes:
        value: ``(methods,)``, means over seeds.
        low: ``(methods,)`` lower ends; NaN where no interval is known to hold.
        high: ``(methods,)``.
        pair_low: ``(methods, methods)`` of the row's value minus the column's.
        pair_high: ``(methods, methods)``.
        degrees: ``(methods, methods)`` degrees of freedom of these intervals.
        effect: ``(methods, methods)`` size of the differences, free of the number of images: for
            a mean over images Cohen's d_z, the mean of the images' differences over their
            standard deviation (images averaged over seeds); for a function of weighted images the
            difference over its bootstrap standard error times the root of the number of images.
            NaN for all else, and where nothing varies.
    """

    value: Floats
    low: Floats
    high: Floats
    pair_low: Floats
    pair_high: Floats
    degrees: Floats
    effect: Floats

    def p(self, alpha: float) -> Floats:
        """P-values of "no difference", ``(methods, methods)``."""
        with np.errstate(invalid="ignore"):
            difference = self.value[:, None] - self.value
        ends = self.pair_low, self.pair_high
        return np.asarray(comparison.p_value(difference, *ends, alpha, self.degrees))


def estimate(
    block: Block, metric: Metric, boot: Bootstrap, inverted: dict[str, Floats], alpha: float
) -> Estimates:
    """Values, intervals and paired differences of a metric, given the trained models.

    Intervals are cut off at the ends of the metric's range: no truth lies beyond them, so that
    their coverage stays the same.

    Args:
        block: the methods.
        metric: which measure.
        boot: the resamples shared by all methods.
        inverted: the inversion intervals of the binned metrics.
        alpha: one minus the coverage.
    """
    seeds = np.array([[metric.value(s) for s in block.samples[m]] for m in block.methods])
    value = seeds.mean(1)
    number = len(block.methods)
    low, high = np.full((2, number), np.nan)
    pair_low, pair_high, effect = np.full((3, number, number), np.nan)
    i, j = np.triu_indices(number, 1)
    correct = np.stack([block.samples[m][0].correct for m in block.methods], axis=1)
    fewest = boot.degrees(correct).min()
    degrees = np.full((number, number), fewest)

    if isinstance(metric, Binned) and metric.interval:
        low, high, cautious_low, cautious_high = inverted[metric.name].reshape(number, 4).T
        if metric.floor_removed:
            # It estimates the same truth as the plain ECE, which the methods are compared by.
            low, high = np.minimum(low, value), np.maximum(high, value)
        else:
            pair_low = cautious_low[:, None] - cautious_high
            pair_high = cautious_high[:, None] - cautious_low
    elif isinstance(metric, PerImage):
        images = np.stack(
            [np.mean([metric.of(s) for s in block.samples[m]], axis=0) for m in block.methods], 1
        )
        finite = np.isfinite(images).all(0)
        images = np.where(finite, images, 0.0)
        differences = images[:, i] - images[:, j]
        degrees[i, j] = degrees[j, i] = boot.degrees(differences)
        if metric.name == "accuracy":
            error = boot.standard_errors(images)
            error[error < 1e-12] = 0.0  # all right, but for rounding
            plain = block.groups is None and block.seeds == 1
            each = boot.degrees(images) if boot.grouped else np.full(number, np.inf)
            # Groups that are all right show no variance: each counts as one image then.
            alike = boot.groups.effective(np.ones(block.images))
            ends = [
                intervals.wilson(
                    v, np.nan if plain else e, block.images if e > 0 else alike, d, alpha
                )
                for v, e, d in zip(value, error, each)
            ]
            low, high = np.array(ends).T
            between = intervals.accuracy_difference(boot, differences, alpha)
        else:
            low, high = boot.means(images, alpha)
            between = boot.means(differences, alpha, paired=True)
        pair_low, pair_high = _matrices(between, i, j, number)
        low, high = np.where(finite, low, np.nan), np.where(finite, high, np.nan)
        unknown = ~(finite[:, None] & finite)
        effect[i, j] = _ratio(
            differences.mean(0), differences.std(0, ddof=min(block.images - 1, 1))
        )
        for matrix in (pair_low, pair_high, effect):
            matrix[unknown] = np.nan
    elif isinstance(metric, Weighted):
        weights = boot.of_images(intervals.SLOW_RESAMPLES)
        drawn = np.stack(
            [np.mean([metric.of(s, weights) for s in block.samples[m]], 0) for m in block.methods],
            axis=1,
        )
        width = distributions.t.ppf(1 - alpha / 2, fewest)
        width *= np.sqrt(len(boot.sizes) / max(len(boot.sizes) - 1, 1))
        half = width * drawn.std(0, ddof=1)
        low, high = value - half, value + half
        error = (drawn[:, i] - drawn[:, j]).std(0, ddof=1)
        half = width * error
        difference = value[i] - value[j]
        effect[i, j] = _ratio(difference, error * np.sqrt(block.images))
        pair_low, pair_high = _matrices((difference - half, difference + half), i, j, number)

    if block.seeds > 1:
        with np.errstate(invalid="ignore"):  # infinite losses have no interval
            difference, between_seeds = value[:, None] - value, seeds[:, None] - seeds
            if not isinstance(metric, Binned):
                low, high = intervals.with_seeds(value, low, high, seeds, alpha)
                pair_low, pair_high = intervals.with_seeds(
                    difference, pair_low, pair_high, between_seeds, alpha
                )
            half = np.where(difference > 0, difference - pair_low, pair_high - difference)
            degrees = intervals.degrees_with_seeds(half, between_seeds, degrees, alpha)
    if len(boot.sizes) < 2:
        # One image, or one group: nothing tells how much another would differ.
        for unknown_end in (low, high, pair_low, pair_high):
            unknown_end[...] = np.nan
    effect[j, i] = -effect[i, j]
    low, high = np.clip([low, high], *metric.range)
    return Estimates(value, low, high, pair_low, pair_high, degrees, effect)


def _ratio(difference: Floats, deviation: Floats) -> Floats:
    unknown = np.full(len(difference), np.nan)
    return np.asarray(np.divide(difference, deviation, where=deviation > 1e-12, out=unknown))


def invert(block: Block, metrics: Sequence[Metric], alpha: float) -> dict[str, Floats]:
    """Inversion intervals of all binned metrics, with the variance between seeds.

    All metrics of the same bins share their draws.

    Returns:
        For each metric ``(methods, 2, 2)``: intervals at ``alpha`` and at ``alpha / 2``.
    """
    binned = [m for m in metrics if isinstance(m, Binned) and m.interval]
    ends = {m.name: np.empty((len(block.methods), 2, 2)) for m in binned}
    levels = (alpha, alpha / 2)
    for number, method in enumerate(block.methods):
        for bins_of in dict.fromkeys(m.bins for m in binned):
            together = [m for m in binned if m.bins is bins_of]
            seeds = [bins_of(sample) for sample in block.samples[method]]
            errors = [(m.of, m.truth or m.of) for m in together]
            found = inversion_intervals(seeds, errors, levels)
            for metric, intervals_found in zip(together, found):
                each = np.array([metric.of(b.hits[None], b)[0] for b in seeds])
                for level, (low, high) in zip(levels, intervals_found):
                    ends[metric.name][number, levels.index(level)] = intervals.with_seeds(
                        np.asarray(each.mean()), low, high, each, level, positive=True
                    )
    return ends


def _matrices(
    ends: tuple[Floats, Floats], i: IntArray, j: IntArray, number: int
) -> tuple[Floats, Floats]:
    """Intervals of the pairs i < j as antisymmetric matrices; 0 on the diagonal."""
    low, high = np.zeros((2, number, number))
    low[i, j], high[i, j] = ends
    low[j, i], high[j, i] = -ends[1], -ends[0]
    return low, high


# --- ranks ---------------------------------------------------------------------------------


def resampled_ece(sample: Predictions, boot: Bootstrap) -> Floats:
    """ECE of every resample, ``(resamples,)``, around the observed one.

    Resampling adds the labels' noise a second time: only the spread is used.
    """
    bins = sample.once(equal_width_bins)
    gaps = sparse.csr_array(
        (bins.hit - bins.confidence, (bins.index, boot.units)), (bins.bins, len(boot.sizes))
    )
    errors: Floats = np.abs(np.asarray(gaps @ boot.by_unit)).sum(0)
    errors /= boot.weights @ boot.sizes
    errors += declared()["ece"].value(sample) - errors.mean()
    return errors


def _rank_rows(
    block: Block,
    estimates: dict[str, Estimates],
    replicates: pd.DataFrame,
    boot: Bootstrap,
    generator: np.random.Generator,
    alpha: float,
) -> list[dict[str, object]]:
    """Ranks of a block's methods, with the interval, the chance of being best, and letters."""
    number = len(block.methods)
    primary = {name: estimates[name].value for name in ranked()}
    rank = comparison.mean_rank(**primary)

    table = replicates.pivot(index=["fold", "seed"], columns=["metric", "method"], values="value")
    methods = list(block.methods)
    each = comparison.mean_rank(**{m: table[m][methods].to_numpy() for m in ranked()})
    by_fold = pd.DataFrame(each, index=table.index)
    low, high = np.full((2, number), np.nan)
    for column in range(number):
        shaped = by_fold[column].unstack("seed").to_numpy()
        mean, lower, upper = intervals.over_training(shaped, block.key[3], alpha)
        low[column] = max(rank[column] - (mean - lower), 1)
        high[column] = min(rank[column] + (upper - mean), number)

    chosen = generator.multinomial(
        block.seeds, np.full(block.seeds, 1 / block.seeds), len(boot.weights)
    )
    share = chosen.T / block.seeds
    drawn: dict[str, list[Floats]] = {name: [] for name in ranked()}
    totals = boot.weights @ boot.sizes
    for method in block.methods:
        samples = block.samples[method]
        for name in ("accuracy", "nll"):
            metric = declared()[name]
            assert isinstance(metric, PerImage)
            images = np.stack([metric.of(s) for s in samples], 1)
            if not np.isfinite(images).all():
                drawn[name].append(np.full(len(totals), np.inf))
                continue
            means = (boot.weights @ boot.sums(images)) / totals[:, None]
            drawn[name].append((means.T * share).sum(0))
        ece = np.stack([resampled_ece(s, boot) for s in samples])
        drawn["ece"].append((ece * share).sum(0))
    chance = comparison.chance_of_best(
        comparison.mean_rank(**{name: np.stack(values, 1) for name, values in drawn.items()})
    )

    order = np.argsort(rank, kind="stable")
    group = _letters(block, estimates, order, alpha)
    return [
        {
            **dict(zip(KEY, block.key)),
            "method": block.methods[m],
            "rank": rank[m],
            "low": low[m],
            "high": high[m],
            **{
                f"rank_{name}": comparison.ranks(primary[name], name == "accuracy")[m]
                for name in ranked()
            },
            "chance_best": chance[m],
            "group": group[m],
        }
        for m in order
    ]


def _letters(
    block: Block, estimates: dict[str, Estimates], order: IntArray, alpha: float
) -> dict[int, str]:
    """Letters of the methods, by Holm-adjusted comparisons of all pairs in all ranked metrics."""
    number = len(block.methods)
    above = np.triu_indices(number, 1)
    raw = [estimates[name].p(alpha)[above] for name in ranked()]
    adjusted = comparison.holm(np.concatenate(raw)).reshape(len(raw), -1)
    better = []
    for name, p in zip(ranked(), adjusted):
        sign = np.zeros((number, number))
        value = estimates[name].value
        with np.errstate(invalid="ignore"):
            gap = value[above[0]] - value[above[1]]
        ahead = np.nan_to_num(np.sign(gap)) * (1 if declared()[name].direction == "higher" else -1)
        # An infinite loss is worse than a finite one, without any test.
        sign[above] = np.where((p < alpha) | np.isinf(gap), ahead, 0)
        better.append(sign - sign.T)
    different = comparison.told_apart(better)
    return dict(zip(order.tolist(), comparison.letters(different[np.ix_(order, order)])))


# --- all of it -------------------------------------------------------------------------------


def summarise(
    predictions: Sequence[Predictions],
    metrics: Sequence[str] | None = None,
    against: str = "cross-entropy",
    alpha: float = 0.05,
    seed: int = 0,
) -> Tables:
    """All tables of a set of predictions.

    Only methods that have every replicate of their block are shown and compared; the others, and
    the replicates that most methods lack, are named in the notes.

    Args:
        predictions: of any methods, data sets and replicates.
        metrics: names; None means all that can be computed. The ranked ones (accuracy, ECE, NLL)
            are always included.
        against: the method that the others are compared with, besides the best.
        alpha: one minus the coverage of the intervals, and the level of the tests.
        seed: of all random draws.

    Raises:
        InputError: a metric or fold is unknown, a replicate occurs twice, alpha is not between 0
            and 1, or methods of a block were tested on different images.
    """
    if not 0 < alpha < 1:
        raise InputError(f"alpha={alpha}: choose a level between 0 and 1, such as 0.05")
    if metrics is not None:
        metrics = [*metrics, *ranked()]
        select(metrics, True)
    arranged = ordered(predictions)
    blocks, notes = build(arranged, seed)
    values: list[dict[str, object]] = []
    rank_rows: list[dict[str, object]] = []
    pairs: list[dict[str, object]] = []
    for block in blocks:
        generator = np.random.default_rng(derive(seed, *block.key))
        boot = Bootstrap.draw(block.units, generator)
        chosen = select(metrics, block.posterior)
        own = [
            p
            for p in arranged
            if p.origin.block == block.key
            and p.origin.method in block.methods
            and p.origin.replicate in block.replicates
        ]
        replicates = _scores(own, [m.name for m in chosen], seed)
        inverted = invert(block, chosen, alpha)
        estimates = {m.name: estimate(block, m, boot, inverted, alpha) for m in chosen}
        for metric in chosen:
            rows = replicates[replicates["metric"] == metric.name]
            values += _value_rows(block, metric, estimates[metric.name], rows, alpha)
            pairs += _pair_rows(block, metric, estimates[metric.name], against, alpha)
        rank_rows += _rank_rows(block, estimates, replicates, boot, generator, alpha)
        notes += _block_notes(block, against)
    frame = _frame(values, VALUE_COLUMNS)
    overall, mean_ranks, more = _overall(frame, blocks, metrics, alpha)
    return Tables(
        values=frame,
        ranks=_frame(rank_rows, RANK_COLUMNS),
        pairs=_frame(pairs, PAIR_COLUMNS),
        overall=overall,
        mean_ranks=mean_ranks,
        notes=(*notes, *more),
    )


VALUE_COLUMNS = (
    *KEY,
    "method",
    "metric",
    "value",
    "low",
    "high",
    "mean_of_folds",
    "training_low",
    "training_high",
    "replicates",
    "images",
    "floor_mean",
    "floor_high",
    "p_calibrated",
    "inside_floor",
    "few_errors",
)
RANK_COLUMNS = (
    *KEY,
    "method",
    "rank",
    "low",
    "high",
    *(f"rank_{name}" for name in ranked()),
    "chance_best",
    "group",
)
PAIR_COLUMNS = (
    *KEY,
    "metric",
    "method",
    "reference",
    "difference",
    "low",
    "high",
    "effect_size",
    "p",
    "p_holm",
)


def _frame(rows: Sequence[dict[str, object]], columns: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=list(columns))


def few_errors(block: Block, method: str) -> bool:
    """Whether a method's errors, or the groups they lie in, are too few to promise coverage."""
    wrong = [1 - s.correct for s in block.samples[method]]
    few = min(w.sum() for w in wrong) < FEW_ERRORS
    if block.groups is not None:
        few |= min(Groups(block.groups).effective(w) for w in wrong) < FEW_GROUPS
    return bool(few)


def _value_rows(
    block: Block, metric: Metric, estimates: Estimates, replicates: pd.DataFrame, alpha: float
) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for number, method in enumerate(block.methods):
        samples = block.samples[method]
        shaped = (
            replicates[replicates["method"] == method]
            .pivot(index="fold", columns="seed", values="value")
            .to_numpy()
        )
        mean, *ends = intervals.over_training(shaped, block.key[3], alpha)
        low, high = np.clip(ends, *metric.range)
        row: dict[str, object] = {
            **dict(zip(KEY, block.key)),
            "method": method,
            "metric": metric.name,
            "value": estimates.value[number],
            "low": estimates.low[number],
            "high": estimates.high[number],
            "mean_of_folds": mean,
            "training_low": low,
            "training_high": high,
            "replicates": len(block.replicates),
            "images": block.images,
            "floor_mean": np.nan,
            "floor_high": np.nan,
            "p_calibrated": np.nan,
            "inside_floor": False,
            "few_errors": few_errors(block, method),
        }
        draws, observed = _floor(metric, samples)
        if draws is not None and np.isfinite(observed):
            floor = noise_floor(draws, observed, alpha)
            removed = observed - estimates.value[number]
            row |= {
                "floor_mean": floor.mean - removed,
                "floor_high": floor.high - removed,
                "p_calibrated": floor.p,
                "inside_floor": bool(observed <= floor.high),
            }
        rows.append(row)
    return rows


def _floor(metric: Metric, samples: Sequence[Predictions]) -> tuple[Floats | None, float]:
    """Draws under perfect calibration, and the observed value that belongs beside them."""
    if isinstance(metric, Binned):
        bins = [metric.bins(s) for s in samples]
        observed = np.mean([metric.of(b.hits[None], b)[0] for b in bins])
        return floor_draws(bins, metric.of), float(observed)
    if isinstance(metric, Relabelled):
        draws = np.mean([np.sort(metric.floor(s)) for s in samples], axis=0)
        return draws, float(np.mean([metric.value(s) for s in samples]))
    return None, np.nan


def _pair_rows(
    block: Block, metric: Metric, estimates: Estimates, against: str, alpha: float
) -> list[dict[str, object]]:
    """Differences to the reference and to the best method of this metric.

    Holm's correction counts the comparisons with the reference. The best is chosen from the same
    data, so that all pairs are counted there.
    """
    order = comparison.ranks(estimates.value, metric.direction == "higher")
    best = block.methods[int(np.argmin(order))]
    references = [m for m in dict.fromkeys((against, best)) if m in block.methods]
    p = estimates.p(alpha)
    above = np.triu_indices(len(block.methods), 1)
    all_pairs = np.full(p.shape, np.nan)
    all_pairs[above] = all_pairs.T[above] = comparison.holm(p[above])
    # No two values lie further apart than the ends of the metric's range.
    span = metric.range[1] - metric.range[0]
    pair_low, pair_high = np.clip([estimates.pair_low, estimates.pair_high], -span, span)
    rows: list[dict[str, object]] = []
    for reference in references:
        r = block.methods.index(reference)
        others = [m for m in range(len(block.methods)) if m != r]
        adjusted = comparison.holm(p[others, r]) if reference == against else all_pairs[others, r]
        for m, p_holm in zip(others, adjusted):
            low, high = pair_low[m, r], pair_high[m, r]
            with np.errstate(invalid="ignore"):
                difference = estimates.value[m] - estimates.value[r]
            rows.append(
                {
                    **dict(zip(KEY, block.key)),
                    "metric": metric.name,
                    "method": block.methods[m],
                    "reference": reference,
                    "difference": difference,
                    "low": low,
                    "high": high,
                    "effect_size": estimates.effect[m, r],
                    "p": p[m, r],
                    "p_holm": p_holm,
                }
            )
    return rows


def _block_notes(block: Block, against: str) -> list[str]:
    notes = []
    if against not in block.methods:
        notes.append(
            f"{block.label}: {against} is missing or incomplete, so methods are compared with the "
            "best one only."
        )
    few = [method for method in block.methods if few_errors(block, method)]
    if few:
        groups = "" if block.groups is None else f" (or errors in fewer than {FEW_GROUPS} groups)"
        notes.append(
            f"{block.label}: fewer than {FEW_ERRORS} errors{groups} of {', '.join(few)}; "
            "intervals may cover less than they say."
        )
    if block.groups is not None:
        number = len(set(block.units.tolist()))
        notes.append(
            f"{block.label}: {block.images} images in {number} groups; intervals resample whole "
            "groups. The noise floors of the sweep, class-wise and smooth errors take images for "
            "independent."
        )
    return notes


def _overall(
    values: pd.DataFrame, blocks: Sequence[Block], metrics: Sequence[str] | None, alpha: float
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Tests over blocks, of the methods that are complete in all of them."""
    common = [
        m for m in (blocks[0].methods if blocks else ()) if all(m in b.methods for b in blocks)
    ]
    rows, mean_rows, notes = [], [], []
    left_out = sorted({m for b in blocks for m in b.methods} - set(common))
    if left_out and len(blocks) > 1:
        notes.append(
            f"Over all blocks only the methods that are complete in each are ranked; without "
            f"{', '.join(left_out)}."
        )
    everywhere = all(b.posterior for b in blocks)
    if len(blocks) == 1:
        notes.append("One block says nothing about others: tests over blocks need several.")
    tested = select(metrics, everywhere) if len(common) > 1 and len(blocks) > 1 else ()
    for metric in tested:
        own = values[(values["metric"] == metric.name) & values["method"].isin(common)]
        table = own.pivot(index=list(KEY), columns="method", values="value")[common]
        test = comparison.friedman(table.to_numpy(), metric.direction == "higher", alpha)
        largest = len(common) - 1
        note = (
            f"{test.blocks} blocks, {len(common)} methods: "
            f"mean ranks must differ by more than {test.critical_difference:.2f} of at most "
            f"{largest}"
        )
        if test.critical_difference >= largest:
            note += "; no difference could be significant, whatever the data."
        elif not test.powered:
            note += "; low power: only very consistent differences can be significant."
        else:
            note += "."
        rows.append(
            {
                "metric": metric.name,
                "blocks": test.blocks,
                "friedman": test.statistic,
                "p": test.p,
                "critical_difference": test.critical_difference,
                "powered": test.powered,
                "note": note,
            }
        )
        mean_rows += [
            {"metric": metric.name, "method": method, "mean_rank": rank}
            for method, rank in zip(common, test.mean_ranks)
        ]
    if rows and not rows[0]["powered"]:
        notes.append(f"Tests over blocks: {rows[0]['note']}")
    datasets = {b.key[1] for b in blocks}
    if len(datasets) < len(blocks):
        notes.append(
            "Blocks that share a data set are not independent; the tests over blocks take them "
            "for it."
        )
    overall = _frame(rows, OVERALL_COLUMNS)
    return overall, _frame(mean_rows, ("metric", "method", "mean_rank")), notes


OVERALL_COLUMNS = (
    "metric",
    "blocks",
    "friedman",
    "p",
    "critical_difference",
    "powered",
    "note",
)
