"""Claims as data: those of the paper, those of the methods that it builds on, and controls that this library adds.

The source of the paper's claims is its abstract. CONTROL marks a comparison with a baseline that a claim has to beat,
CHOICE a decision of this library that differs from the authors' release.
"""

from dataclasses import dataclass

ALL, SEEN, NEW = "all", "in-distribution", "novel compositions"
ABSTRACT, CONTROL, CHOICE = "abstract", "control", "choice"
GUIDED = "CGE can know no more than its guide does: notebook 04."
SCORES = "Late score fusion uses both of CLIP's encoders, CGE the image encoder alone: notebook 04."
LATE = "These runs are short compared with the paper's 20,000 steps, and a queue may pay late: notebook 07."


@dataclass(frozen=True, kw_only=True)
class Claim:
    """`variant` of a study is better than its `baseline`.

    source: where it is claimed. judged: the subset of the images that decides. photos: the same comparison as two
    variants of the study on photos, the one claimed to be better first. long: the same comparison as (study, variant,
    baseline) of a long study, whose runs decide once there are enough. reason: a possible reason where the claim is not
    supported.
    """

    text: str
    source: str
    study: str
    variant: str
    baseline: str
    reason: str
    judged: str = ALL
    photos: tuple[str, str] | None = None
    long: tuple[str, str, str] | None = None


CLAIMS = (
    Claim(
        text="SGE helps the plain model", source=ABSTRACT, study="world", variant="sge", baseline="baseline",
        reason="What SGE adds has norm s, so its residual scale decides: notebook 03.",
    ),
    Claim(
        text="SGE helps with queue and UTO", source=ABSTRACT, study="enhancement", variant="sge", baseline="none",
        photos=("full", "none"), reason="GPO pooling already weighs regions: notebook 03.",
        long=("long-enhancement", "sge", "none"),
    ),
    Claim(
        text="CGE helps the plain model", source=ABSTRACT, study="world", variant="cge", baseline="baseline",
        reason=GUIDED,
    ),
    Claim(
        text="CGE helps with queue and UTO", source=ABSTRACT, study="enhancement", variant="cge", baseline="none",
        reason=GUIDED,
        long=("long-enhancement", "cge", "none"),
    ),
    Claim(
        text="CGE beats late score fusion with CLIP", source=CONTROL, study="world", variant="cge",
        baseline="baseline+scores",
        reason=SCORES,
        long=("long-enhancement", "cge", "none+scores"),
    ),
    Claim(
        text="CGE beats late score fusion on novel compositions", source=CONTROL, study="world", variant="cge",
        baseline="baseline+scores", judged=NEW,
        reason=SCORES,
        long=("long-enhancement", "cge", "none+scores"),
    ),
    Claim(
        text="CGE needs the image's own vector", source=CONTROL, study="guide", variant="cge",
        baseline="cge-mismatched", reason="Then the gain is capacity, not knowledge: notebook 04.",
        long=("long-guide", "cge-informed", "cge-mismatched"),
    ),
    Claim(
        text="A queue of 2,048 helps the plain model", source=ABSTRACT, study="world", variant="queue",
        baseline="baseline", reason=LATE,
    ),
    Claim(
        text="A queue of 2,048 helps with SGE and UTO", source=ABSTRACT, study="queue", variant="2048",
        baseline="absent", photos=("full", "absent"), reason=LATE,
        long=("long-queue", "2048", "absent"),
    ),
    Claim(
        text="A queue of 2,048 helps, batch loss times 20", source=ABSTRACT, study="queue",
        variant="2048-weight-20", baseline="absent-weight-20", reason=LATE,
        long=("long-queue", "2048-weight-20", "absent-weight-20"),
    ),
    Claim(
        text="The batch loss times 20 helps, without a queue", source=CONTROL, study="queue",
        variant="absent-weight-20", baseline="absent", reason="It would change nothing but what is clipped.",
        long=("long-queue", "absent-weight-20", "absent"),
    ),
    Claim(
        text="4,096 keys (at length 8,192) are better than 256", source=ABSTRACT, study="queue", variant="4096",
        baseline="256",
        reason="Many keys outweigh the batch: with its loss times 20 little of the difference is left (study queue).",
        long=("long-queue", "8192", "256"),
    ),
    Claim(
        text="A queue helps a batch of 32", source=ABSTRACT, study="batch", variant="32-queue", baseline="32-absent",
        reason=LATE,
        long=("long-queue", "32-2048", "32-absent"),
    ),
    Claim(
        text="Keys from slow encoders are better", source="MoCo", study="momentum", variant="rule", baseline="0",
        reason="In a short run a slow encoder lags far behind: notebook 07.",
        long=("long-momentum", "0.99", "0"),
    ),
    Claim(
        text="Keys of the query's own image should be masked", source=CHOICE, study="masking",
        variant="masked-2048", baseline="unmasked-2048",
        reason="They are few, one query in some: notebook 07, exercise 4.",
        long=("long-momentum", "0.99", "unmasked"),
    ),
    Claim(
        text="UTO is better than hinge, plain model", source=ABSTRACT, study="world", variant="uto",
        baseline="baseline", reason="Both have the same learning rate there; see the line below.",
    ),
    Claim(
        text="UTO is better than hinge, learning rates tuned", source=ABSTRACT, study="objective", variant="uto",
        baseline="hinge-sum", photos=("full", "hinge"),
        reason="A better learning rate may be worth more than an objective: notebook 06.",
        long=("long-objective", "uto", "hinge-sum"),
    ),
    Claim(
        text="UTO is better than InfoNCE, learning rates tuned", source=CONTROL, study="objective", variant="uto",
        baseline="infonce", photos=("full", "infonce"), reason="Both weight the hardest negatives most: notebook 06.",
        long=("long-objective", "uto", "infonce"),
    ),
    Claim(
        text="Leaky UTO is better than the original", source=CHOICE, study="objective", variant="uto",
        baseline="uto-exact", reason="The two differ below zero alone, where a run may never be: notebook 06.",
        long=("long-objective", "uto", "uto-original"),
    ),
    Claim(
        text="GPO pools better than the mean", source="VSE-infinity", study="pooling", variant="gpo", baseline="mean",
        reason="A network before the mean can do what pooling would: notebook 02.",
        long=("long-enhancement", "none", "none-mean"),
    ),
    Claim(
        text="All parts together help", source=ABSTRACT, study="world", variant="full", baseline="baseline",
        reason="Parts that help alone may stand in each other's way.",
    ),
    Claim(
        text="The whole beats its own guide", source=CONTROL, study="world", variant="full", baseline="clip",
        reason="The guide was trained on far more images.",
    ),
)  # fmt: skip
