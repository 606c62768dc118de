"""Does what is said about methods hold? Real trainings on many samples of one population.

    python -m tools.method_coverage --folder build/method-coverage

Trains (what is there is not trained again) all methods on many independent draws of ``simulated``,
and some on many samples that are each cut into folds; takes tables of a few replicates from these,
and compares what they say with the mean of all others. The members of the ensembles are methods
that are equal by construction. Committed results, too, are relabelled so: whatever their tables say
of differences between members is false. The tables are written to ``docs/method-coverage.md``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from scipy import special, stats

from benchmark.api import BlockKey, Floats, IntArray, Predictions, plugins
from benchmark.inference.comparison import holm, mean_rank
from benchmark.inference.intervals import Bootstrap
from benchmark.inference.moderated import Moderated, moderated, own_errors
from benchmark.measures.declared import metrics, ranked
from benchmark.measures.kinds import CalibrationMeasure
from benchmark.results import manifest
from benchmark.results.load import STORE, load
from benchmark.results.store import Store
from benchmark.statistics.apart import measure_apart
from benchmark.statistics.blocks import build, by_block, ordered
from benchmark.statistics.methods import BIAS, OverTrainings, variance_factors
from benchmark.statistics.networks import estimate
from benchmark.statistics.ranks import rank_intervals

MEASURES = ("accuracy", "nll", "brier", "ece")
REPLICATES = (3, 5, 10)
TABLES = 300
MEMBERS = "deep-ensemble"
SOME = "cross-entropy,label-smoothing,focal,mhml-4,mhml-9,mixup,dca,mbls"


@dataclass(frozen=True, eq=False)
class Sample:
    """Values of some methods on some replicates, by metric.

    Attributes:
        methods: their names.
        values: ``(methods, replicates)``; of calibration errors without noise.
        truth: the same, of the true calibration error where it is known.
        images: ``(methods, methods, replicates)`` the variance of each difference that drawing
            test images alone makes.
        own_images: ``(methods, replicates)`` the same of single values.
        floors: ``(methods, replicates)`` means of the noise floor; 0 where there is none.
        factor: variance of a mean of paired differences over that of one replicate.
        single: the same of single values.
    """

    methods: tuple[str, ...]
    values: dict[str, Floats]
    truth: dict[str, Floats]
    images: dict[str, Floats]
    own_images: dict[str, Floats]
    floors: dict[str, Floats]
    factor: float
    single: float

    def table(self, metric: str, picked: IntArray, order: IntArray | None = None) -> Moderated:
        """What is said of some replicates; in each the methods may be exchanged.

        Args:
            metric: which.
            picked: replicates.
            order: ``(methods, replicates)`` who takes the place of whom.
        """
        number = len(picked)
        values, images = self.values[metric][:, picked], self.images[metric][:, :, picked]
        floors = self.floors[metric][:, picked]
        if order is not None:
            values = np.take_along_axis(values, order, axis=0)
            floors = np.take_along_axis(floors, order, axis=0)
            images = np.stack(
                [images[np.ix_(o, o)][:, :, k] for k, o in enumerate(order.T)], axis=2
            )
        factor = max(self.factor, 1 / number)
        return moderated(values, factor, images.mean(2) / number, bias=BIAS * floors.mean(1))


def sample(folder: Path, key: BlockKey, members: bool, cache: Path) -> Sample:
    """The numbers of one block of a results folder; measured once.

    Args:
        folder: with a manifest.
        key: which block.
        members: whether the members of the ensembles are the methods.
        cache: where they are kept.
    """
    listing = manifest.read(folder)
    replicates: dict[tuple[str, int], list[Predictions]] = {}
    if members:
        store = Store(folder / STORE)
        for entry in listing.entries:
            if entry.origin.block == key and entry.origin.method == MEMBERS:
                for number, fit in enumerate(entry.fits):
                    if not (folder / STORE / f"{fit}.npz").exists():
                        continue
                    test = store.fit(fit).test
                    p = Predictions(
                        log_probs=test.log_probs, labels=test.labels, ids=test.ids,
                        groups=test.groups, posterior=test.posterior, origin=entry.origin,
                    )  # fmt: skip
                    replicates.setdefault(p.origin.replicate, []).append(
                        p.at(method=f"member-{number}")
                    )
    else:
        for p in by_block(load(folder, listing).predictions)[key]:
            replicates.setdefault(p.origin.replicate, []).append(p)
    most = max(map(len, replicates.values()))
    complete = {r: listed for r, listed in replicates.items() if len(listed) == most}
    name = "-".join((folder.resolve().parent.name, folder.name, *key, str(members)))
    numbers = [
        _numbers(listed, cache / f"{name}-{fold}-{seed}.npz".replace("/", "_").replace(" ", "_"))
        for (fold, seed), listed in sorted(complete.items())
    ]
    block, _ = build(ordered([p for listed in complete.values() for p in listed]))
    assert block is not None

    def joined(what: str) -> dict[str, Floats]:
        return {m: np.stack([n[f"{what}-{m}"] for n in numbers], axis=-1) for m in MEASURES}

    return Sample(
        methods=block.methods,
        values=joined("values"),
        truth=joined("truth"),
        images=joined("images"),
        own_images=joined("own"),
        floors=joined("floors"),
        factor=variance_factors(block)[1],
        single=variance_factors(block)[0],
    )


def _numbers(predictions: Sequence[Predictions], file: Path) -> dict[str, Floats]:
    if file.exists():
        with np.load(file) as kept:
            return dict(kept)
    block, _ = build(ordered([p.at(fold="official", seed=0) for p in predictions]))
    assert block is not None
    boot = Bootstrap.draw(block.units, np.random.default_rng(0))
    chosen = [metrics()[name] for name in MEASURES]
    apart = measure_apart(block, chosen, boot, 0.05, {})
    found: dict[str, Floats] = {}
    for metric in chosen:
        values = apart.denoised.get(metric.name, apart.replicates[metric.name])[:, 0, 0]
        truth = values
        if isinstance(metric, CalibrationMeasure) and block.posterior:
            parts = [block.parts[method][0] for method in block.methods]
            truth = np.array([metrics()["ece_true"].value(p) for p in parts])
        floors = apart.floors.get(metric.name, np.zeros((len(values), 2)))
        given = estimate(block, metric, boot, apart, 0.05)
        found |= {
            f"values-{metric.name}": values,
            f"truth-{metric.name}": truth,
            f"images-{metric.name}": np.asarray(given.pair_error**2),
            f"own-{metric.name}": np.asarray(given.error**2),
            f"floors-{metric.name}": floors[:, 1],
        }
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part.npz")
    np.savez(part, **found)  # type: ignore[arg-type]
    part.replace(file)
    return found


# --- what tables say, and what is true -----------------------------------------------------


def covered(samples: Sequence[Sample], metric: str, number: int, seed: int = 0) -> dict[str, float]:
    """Shares in percent over tables of so many replicates; the truth is the mean of all others.

    Args:
        samples: one, of independent draws from which replicates are taken; or one for each sample
            that was cut into so many folds.
        metric: which.
        number: of replicates.
        seed: of the choice.
    """
    generator = np.random.default_rng(seed)
    above = np.triu_indices(len(samples[0].methods), 1)
    totals = {"covered": 0.0, "found": 0.0, "plain": 0.0, "own": 0.0}
    means = np.array([s.truth[metric].mean(1) for s in samples])
    tables = TABLES if len(samples) == 1 else len(samples)
    for turn in range(tables):
        if len(samples) == 1:
            every = samples[0].truth[metric]
            picked = generator.choice(every.shape[1], number, replace=False)
            chosen, others = samples[0], np.delete(every, picked, axis=1)
        else:
            chosen, picked = samples[turn], np.arange(number)
            others = np.delete(means, turn, axis=0).T
        true = others.mean(1)[:, None] - others.mean(1)
        pairs = others[:, None] - others
        unsure = pairs.var(2, ddof=1) / others.shape[1]  # the truth is estimated, too
        found = chosen.table(metric, picked)
        half = special.stdtrit(found.degrees, 0.975) * np.sqrt(found.error**2 + unsure)
        totals["covered"] += float((np.abs(found.difference - true) <= half)[above].mean())
        real = (np.abs(true) > 4 * np.sqrt(unsure))[above]
        totals["found"] += float((holm(found.p()[above])[real] < 0.05).mean())
        values = chosen.values[metric][:, picked]
        paired = values[above[0]] - values[above[1]]
        error = np.sqrt(paired.var(1, ddof=1) * max(chosen.factor, 1 / number)) + 1e-12
        plain = 2 * stats.t.sf(np.abs(paired.mean(1)) / error, number - 1)
        totals["plain"] += float((holm(plain)[real] < 0.05).mean())
        own = own_errors(
            values,
            max(chosen.single, 1 / number),
            chosen.own_images[metric][:, picked].mean(1) / number,
            bias=BIAS * chosen.floors[metric][:, picked].mean(1),
        )
        spread = others.var(1, ddof=1) / others.shape[1]
        reach = stats.t.ppf(0.975, number - 1) * np.sqrt(own**2 + spread)
        totals["own"] += float((np.abs(values.mean(1) - others.mean(1)) <= reach).mean())
    return {name: 100 * total / tables for name, total in totals.items()}


def ranks_covered(sample: Sample, number: int, seed: int = 0) -> tuple[float, float]:
    """How often intervals of mean ranks hold the rank of the expected values, and their width.

    Args:
        sample: independent draws.
        number: of replicates in a table.
        seed: of the choice.
    """
    generator = np.random.default_rng(seed)
    inside, width = [], []
    for _ in range(TABLES):
        draws = sample.truth["nll"].shape[1]
        picked = generator.choice(draws, number, replace=False)
        means = {m: np.delete(sample.truth[m], picked, axis=1).mean(1) for m in ranked()}
        tables = {m: sample.table(m, picked) for m in ranked()}
        values = {m: sample.values[m][:, picked] for m in ranked()}
        trainings = {
            m: OverTrainings(values[m].mean(1), values[m].mean(1), values[m].mean(1), tables[m])
            for m in ranked()
        }
        rank = mean_rank({m: t.value for m, t in trainings.items()})
        low, high = rank_intervals(rank, trainings, values, generator, 0.05)
        true = mean_rank(means)
        inside.append(((low - 1e-9 <= true) & (true <= high + 1e-9)).mean())
        width.append((high - low).mean())
    return 100 * float(np.mean(inside)), float(np.mean(width))


def needed_factor(samples: Sequence[Sample], metric: str) -> float:
    """Variance of mean paired differences over samples, over that between the folds of each."""
    above = np.triu_indices(len(samples[0].methods), 1)
    pairs = np.array([(s.values[metric][:, None] - s.values[metric])[above] for s in samples])
    between = pairs.mean(2).var(0, ddof=1)
    within = pairs.var(2, ddof=1).mean(0)
    return float(np.median(between / within))


def relabelled(sample: Sample, number: int | None = None, seed: int = 0) -> dict[str, float]:
    """What tables say of methods that are equal: in each replicate members change places.

    Returns:
        By metric, in percent: pairs with p < 0.05; and tables that separate any pair after Holm's
        correction, for each metric and (``any``) in accuracy, NLL or ECE.
    """
    generator = np.random.default_rng(seed)
    methods, replicates = sample.values["nll"].shape
    above = np.triu_indices(methods, 1)
    said = dict.fromkeys([f"{what} {m}" for what in ("p", "any") for m in MEASURES] + ["any"], 0.0)
    for _ in range(TABLES):
        picked = np.arange(replicates)
        if number is not None:
            picked = generator.choice(replicates, number, replace=False)
        order = generator.permuted(np.tile(np.arange(methods), (len(picked), 1)), axis=1).T
        separated = {}
        for metric in MEASURES:
            p = sample.table(metric, picked, order).p()[above]
            said[f"p {metric}"] += float((p < 0.05).mean())
            separated[metric] = bool((holm(p) < 0.05).any())
            said[f"any {metric}"] += separated[metric]
        said["any"] += separated["accuracy"] | separated["nll"] | separated["ece"]
    return {name: 100 * total / TABLES for name, total in said.items()}


# --- training, and the report ----------------------------------------------------------------


def main(arguments: Iterable[str] | None = None) -> None:
    """Train what is missing, measure, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=30)
    parser.add_argument("--samples", type=int, default=24)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("build/method-coverage"))
    parser.add_argument("--committed", type=Path, default=Path("results"))
    parser.add_argument("--output", type=Path, default=Path("docs/method-coverage.md"))
    options = parser.parse_args(None if arguments is None else list(arguments))
    import benchmark

    plugins.mount(str(Path(__file__).parent / "coverage_data"))
    draws, cuts = options.folder / "draws", options.folder / "cuts"
    jobs = options.jobs
    benchmark.run(
        methods="all", datasets="simulated", folds=options.draws, results=draws, jobs=jobs
    )
    names = [f"cut-{number:02}" for number in range(options.samples)]
    benchmark.run(methods=SOME, datasets=",".join(names), folds=5, results=cuts, jobs=jobs)
    numbers = options.folder / "numbers"
    options.output.write_text(
        report(draws, cuts, names, options.committed, numbers, jobs), encoding="utf-8"
    )


def report(
    draws: Path, cuts: Path, names: Sequence[str], committed: Path, cache: Path, jobs: int
) -> str:
    """The tables, in Markdown.

    Args:
        draws: results on independent draws.
        cuts: results on samples that were cut into folds.
        names: which of these.
        committed: a folder of results that are relabelled.
        cache: for what was measured.
        jobs: processes.
    """
    places: list[tuple[Path, BlockKey, bool]] = []
    for folder, kinds in [(draws, (False, True)), (cuts, (False,))]:
        blocks = dict.fromkeys(e.origin.block for e in manifest.read(folder).entries)
        chosen = [key for key in blocks if folder == draws or key.dataset in names]
        places += [(folder, key, kind) for key in chosen for kind in kinds]
    for folder in sorted(committed.glob("*/manifest.json")):
        found = manifest.read(folder.parent).entries
        keys = dict.fromkeys(e.origin.block for e in found if e.origin.method == MEMBERS)
        places += [(folder.parent, key, True) for key in keys]
    made = Parallel(n_jobs=jobs)(delayed(sample)(*place, cache) for place in places)
    samples = dict(zip(places, made, strict=True))
    of_draws = [s for (folder, _, kind), s in samples.items() if folder == draws and not kind]
    of_cuts = [s for (folder, _, _), s in samples.items() if folder == cuts]
    members = {place: s for place, s in samples.items() if place[2]}
    lines = [
        "# Does what is said about methods hold?",
        "",
        "Written by `python -m tools.method_coverage`, from real trainings (preset `quick`). The",
        "truth is the mean over all replicates that a table does not use, and its own uncertainty",
        "is allowed for. Percentages of pairs: 95 % intervals of differences that cover; true",
        "differences that are found after Holm's correction over all pairs, and what the plain",
        "paired t-test finds of these; and 95 % intervals of single methods that cover.",
        "",
        f"## Independent draws: {len(of_draws[0].methods)} methods, tables of 3, 5 and 10 of "
        f"{of_draws[0].values['nll'].shape[1]} draws of `simulated`",
        "",
        *_covered([(f"{n} draws", of_draws, n) for n in REPLICATES]),
        "",
        "Intervals of mean ranks hold the rank of the expected values in "
        + ", ".join(
            f"{share:.1f} % of cases with {n} draws (width {width:.1f})"
            for n in REPLICATES
            for share, width in [ranks_covered(of_draws[0], n)]
        )
        + ". The ranks of the expected values are known only from the other draws.",
        "",
        f"## Five folds: {len(of_cuts[0].methods)} methods, {len(of_cuts)} samples of 1875 images",
        "",
        *_covered([("5 folds", of_cuts, 5)]),
        "",
        "Variance of a mean of paired differences, in units of that between the folds of a sample "
        "(the tables take "
        f"{of_cuts[0].factor:.2f}; independent replicates would need 0.20, Nadeau and Bengio's "
        "correction for single values gives 0.51): "
        + ", ".join(f"{m} {needed_factor(of_cuts, m):.2f}" for m in MEASURES)
        + ".",
        "",
        "## Equal methods: the members of the ensembles, relabelled",
        "",
        f"{TABLES} tables each; in each replicate the members change places at random. Percentage",
        "of pairs with p < 0.05 (5 if right, fewer if cautious), and of tables in which letters",
        "separate any pair of a metric (5 if right). Members scatter alike: where some methods",
        "scatter two or three times as much as others, simulated tables separate equal ones in up",
        "to 15 % (`tests/inference/test_moderated.py`).",
        "",
        "| results | replicates | "
        + " | ".join(f"p < 0.05, {m}" for m in MEASURES)
        + " | "
        + " | ".join(f"separated, {m}" for m in MEASURES)
        + " | in accuracy, NLL or ECE |",
        "|---" * (3 + 2 * len(MEASURES)) + "|",
    ]
    for (folder, key, _), found in members.items():
        replicates = found.values["nll"].shape[1]
        for number in REPLICATES if folder == draws else (replicates,):
            said = relabelled(found, number)
            lines.append(
                f"| {key.dataset if folder != draws else 'simulated, draws'} | {number} | "
                + " | ".join(f"{said[name]:.1f}" for name in said)
                + " |"
            )
    lines += [
        "",
        "## What this does not show",
        "",
        "Other populations and networks than these small ones; several seeds a fold; and the seeds",
        "of one official split (their variance between images is added; tested in",
        "`tests/inference` alone). Taking noise off a calibration error is not free of bias: where",
        "test parts are small and gaps change their sign, it takes off too much (up to 2.6 points",
        "with 375 images, where the floor is 5; up to 1 with 2500, where it is 1.6). Differences",
        "allow for 0.15 floors of that, and so cover; a single value near its floor may be too",
        "low.",
    ]
    return "\n".join(lines) + "\n"


def _covered(rows: Sequence[tuple[str, Sequence[Sample], int]]) -> list[str]:
    lines = [
        "| replicates | metric | differences cover | found | plain t finds | single values cover |",
        "|---|---|---|---|---|---|",
    ]
    for name, samples, number in rows:
        for metric in MEASURES:
            shares = covered(samples, metric, number)
            of_row = " | ".join(f"{shares[w]:.1f}" for w in ("covered", "found", "plain", "own"))
            lines.append(f"| {name} | {metric} | {of_row} |")
    return lines


if __name__ == "__main__":
    main()
