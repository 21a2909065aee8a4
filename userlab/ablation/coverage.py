"""`python -m userlab coverage`: how often a 95 % confidence interval of a difference of two models contains the true
difference.

Models are simulated: whether a query hits depends on the difficulty of its image for all models, on an effect of model
and image, on an effect of the seed over all images, and on chance for each run and image. The true difference is the
expected one over all images and seeds.
"""

import argparse
from typing import Any

import numpy as np
from scipy.stats import norm

from userlib.errors import UserError
from userlib.evaluation.ranking import Ranks
from userlib.evaluation.seeds import seed_difference
from userlib.progress import Progress

SPREADS = (0.0, 1.0, 2.0, 4.0)  # points of R@1, one standard deviation over seeds
SEEDS = (3, 5)
# standard deviations of the latent variable: over images, over models for an image, over runs for an image
HARD, OWN, CHANCE = 1.0, 0.3, 1.0
CAPTIONS = 5
LEVELS = (0.0, 0.25)  # means of the latent variable for the two models, so that the true difference is not 0


def add_command(commands: Any) -> None:
    """Adds coverage to the other commands."""
    command = commands.add_parser(
        "coverage",
        help="simulate how often a study's intervals contain the true difference",
        description="Simulate pairs of models with known seed variance; print the coverage of their intervals.",
    )
    command.add_argument("--replicates", type=int, default=2000, metavar="N", help="default: %(default)s")
    command.add_argument("--images", type=int, default=1000, metavar="N", help="default: %(default)s")
    command.add_argument("--seed", type=int, default=0, metavar="N", help="default: %(default)s")


def run(arguments: argparse.Namespace) -> int:
    for name in ("replicates", "images"):
        if getattr(arguments, name) < 2:
            raise UserError(f"--{name} is {getattr(arguments, name)}; it must be a whole number from 2 up.")
    print(f"{arguments.replicates} replicates, {arguments.images} images, seed {arguments.seed}")
    print("seeds  sd over seeds, points  coverage of R@1, %  mean width, points")
    with Progress(len(SEEDS) * len(SPREADS), "coverage") as bar:
        for seeds in SEEDS:
            for spread in SPREADS:
                covered, width = coverage(
                    seeds,
                    spread,
                    images=arguments.images,
                    replicates=arguments.replicates,
                    seed=arguments.seed,
                )
                print(f"{seeds:5}  {spread:22.0f}  {100 * covered:18.1f}  {width:18.1f}", flush=True)
                bar.step()
    return 0


def coverage(
    seeds: int, spread: float, *, images: int = 1000, replicates: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """The share of intervals of the difference in mean R@1 that contain the true one, and their mean width in points.

    spread: the standard deviation of R@1 over seeds, in points, for both models.
    """
    rng = np.random.default_rng(seed)
    whole = np.sqrt(HARD**2 + OWN**2 + CHANCE**2)
    shift = (
        spread / (100 * norm.pdf(0)) * whole
    )  # the spread of the latent variable, where half of the queries hit
    true = 100 * (norm.cdf(LEVELS[1] / np.hypot(whole, shift)) - norm.cdf(LEVELS[0] / np.hypot(whole, shift)))
    owner = np.repeat(np.arange(images), CAPTIONS)
    covered, width = 0, 0.0
    for _ in range(replicates):
        hard = HARD * rng.standard_normal(images)
        models = []
        for level in LEVELS:
            own = level + hard + OWN * rng.standard_normal(images)
            models.append({s: _run(rng, own + shift * rng.standard_normal(), owner) for s in range(seeds)})
        difference = seed_difference(models[1], models[0])["r1"]
        covered += difference.low <= true <= difference.high
        width += difference.high - difference.low
    return covered / replicates, width / replicates


def _run(rng: np.random.Generator, latent: Any, owner: Any) -> Ranks:
    """Ranks 1 (hit) or 11 of one run, from the latent of each image."""
    i2t = np.where(latent + CHANCE * rng.standard_normal(len(latent)) > 0, 1, 11)
    t2i = np.where(latent[owner] + CHANCE * rng.standard_normal(len(owner)) > 0, 1, 11)
    return Ranks(i2t=i2t, t2i=t2i, caption_to_image=owner)
