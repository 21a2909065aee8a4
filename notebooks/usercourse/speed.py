"""Figures of notebook 14: times compared, the cost of a higher recall, and a step on many GPUs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from usercourse.plots import COLOURS, CYCLE, WIDEST, Shown, new_figure, wrapped

FLOAT = 4  # bytes
NUMBER = 8  # bytes of an image id


class SimulatedDevice:
    """Works asynchronously, as a GPU does: run() queues work and returns at once, wait() returns when all is done.

    Its time is simulated, so that readings are the same everywhere: runs cycle through the seconds in `later`; the
    first run also takes `first` seconds of preparation before it is queued.
    """

    LAUNCH = 0.0001  # seconds that queueing takes

    def __init__(self, first: float, later: Sequence[float]) -> None:
        self._first, self._later = first, tuple(later)
        self._now, self._done, self._runs = 0.0, 0.0, 0

    def run(self) -> None:
        """Queue one run."""
        self._now += self.LAUNCH + (0.0 if self._runs else self._first)
        self._done = max(self._done, self._now) + self._later[self._runs % len(self._later)]
        self._runs += 1

    def wait(self) -> None:
        """Wait until all queued work is done."""
        self._now = max(self._now, self._done)

    def clock(self) -> float:
        """The simulated time in seconds."""
        return self._now


def bars(times: Mapping[str, float], *, x_label: str) -> Shown:
    """Seconds by name as bars, on a logarithmic scale where small ones would vanish; the sentence compares each with
    the fastest.
    """
    figure, axes = new_figure(WIDEST, 0.9 + 0.45 * len(times))
    axis = axes[0, 0]
    for i, (seconds, colour) in enumerate(zip(times.values(), CYCLE, strict=False)):
        axis.barh(i, seconds, color=colour, height=0.6)
        axis.annotate(f" {_time(seconds)}", (seconds, i), va="center", fontsize=9)
    least, most = min(times.values()), max(times.values())
    if most > 20 * least:
        axis.set_xscale("log")
        axis.set_xlim(least / 3, most * 8)
        axis.xaxis.set_major_formatter("{x:g}")
    else:
        axis.set_xlim(0, most * 1.15)
    axis.set_yticks(range(len(times)), [wrapped(name, 18) for name in times], fontsize=9)
    axis.set_ylim(len(times) - 0.4, -0.6)
    axis.set_xlabel(wrapped(x_label, 50), fontsize=9)
    best = min(times, key=lambda name: times[name])
    ratios = {name: seconds / times[best] for name, seconds in times.items() if name != best}
    others = [
        f"{name} takes {ratio:{',.0f' if ratio >= 100 else '.3g'}} times as long"
        for name, ratio in ratios.items()
    ]
    return figure, f"The fastest is {best} at {_time(times[best])}; {', '.join(others)}."


def shares(percent: Mapping[str, float]) -> Shown:
    """The percentages of a step's time by operation, in the given order; the sentence names the first and others."""
    figure, axes = new_figure(WIDEST, 0.9 + 0.28 * len(percent))
    axis = axes[0, 0]
    axis.barh(range(len(percent)), list(percent.values()), color=COLOURS["blue"], height=0.6)
    for i, share in enumerate(percent.values()):
        axis.annotate(f" {share:.1f}", (share, i), va="center", fontsize=9)
    axis.set_yticks(range(len(percent)), list(percent), fontsize=9)
    axis.set_ylim(len(percent) - 0.4, -0.6)
    axis.set_xlim(0, 1.1 * max(percent.values()))
    axis.set_xlabel("percent of the step's time", fontsize=9)
    first, *others = percent
    rest = ", ".join(f"{name} {percent[name]:.0f} %" for name in others if percent[name] >= 2)
    return figure, f"{first[:1].upper()}{first[1:]} take {percent[first]:.0f} % of the step; then {rest}."


def trade(widths: Sequence[int], recalls: Sequence[float], ms: Sequence[float], *, exact_ms: float) -> Shown:
    """Recall in percent over milliseconds per query, a point per search width; a line for exact search."""
    figure, axes = new_figure(WIDEST, 3.2)
    axis = axes[0, 0]
    axis.plot(ms, recalls, "o-", color=COLOURS["blue"], lw=2)
    for width, x, y in zip(widths, ms, recalls, strict=True):
        axis.annotate(str(width), (x, y), xytext=(4, -11), textcoords="offset points", fontsize=9)
    axis.axvline(exact_ms, color=COLOURS["vermillion"], ls="--", lw=1.5, label="exact search, recall 100")
    axis.set_xlabel("milliseconds per query", fontsize=9)
    axis.set_ylabel("recall@10, %", fontsize=9)
    axis.legend(fontsize=9, frameon=False, loc="lower center")
    axis.margins(y=0.12)
    good = [(x, width) for width, x, y in zip(widths, ms, recalls, strict=True) if y >= 95]
    said = (
        f"a width of {good[0][1]} is the first with 95 %, at {good[0][0]:.3f} ms against {exact_ms:.3f} ms"
        if good
        else "no width reaches 95 %"
    )
    return figure, f"Labels at the dots are the search width ef_search; {said} for exact search."


@dataclass(frozen=True)
class Many:
    """A step on several GPUs; bytes are those that one GPU receives."""

    gpus: int
    joint: int  # pairs that a step compares with each other
    negatives: int  # of a query, in the batch and in the queue
    key_age: float  # steps since the oldest key of the queue was made
    steps: int  # per epoch
    embedding_bytes: int  # both embeddings, both keys and the image ids of the other GPUs' pairs
    gradient_bytes: int  # averaging the gradients by a ring all-reduce


def many(*, gpus: int, share: int, embed_dim: int, keys: int, pairs: int, parameters: int) -> Many:
    """share: pairs that each GPU encodes in a step; keys: the queue size K; pairs: captions of an epoch."""
    joint = gpus * share
    return Many(
        gpus=gpus,
        joint=joint,
        negatives=joint - 1 + keys,
        key_age=keys / joint,
        steps=pairs // joint,
        embedding_bytes=(joint - share) * (4 * embed_dim * FLOAT + NUMBER),
        gradient_bytes=round(2 * (gpus - 1) / gpus * parameters * FLOAT),
    )


def traffic(gpus: int, K: int) -> Shown:
    """The data that a GPU receives in a step of the paper's Flickr30K run, for 1 to 128 GPUs; `gpus` is marked."""
    counts = [2**i for i in range(8)]
    shape = {"share": 128, "embed_dim": 1024, "keys": K, "pairs": 145_000, "parameters": 122_000_000}
    steps = [many(gpus=n, **shape) for n in counts]
    one = many(gpus=gpus, **shape)
    figure, axes = new_figure(WIDEST, 3.2)
    axis = axes[0, 0]
    axis.plot(
        counts,
        [s.embedding_bytes / 1e6 for s in steps],
        "o-",
        color=COLOURS["blue"],
        lw=2,
        label="embeddings and keys",
    )
    axis.plot(
        counts,
        [s.gradient_bytes / 1e6 for s in steps],
        "s--",
        color=COLOURS["vermillion"],
        lw=2,
        label="gradients",
    )
    axis.axvline(gpus, color="black", lw=1, ls=":")
    axis.set_xscale("log", base=2)
    axis.set_xticks(counts, [str(n) for n in counts])
    axis.set_xlabel("GPUs, 128 pairs on each", fontsize=9)
    axis.set_ylabel("MB that a GPU receives per step", fontsize=9)
    axis.legend(fontsize=9, frameon=False)
    return figure, (
        f"On {gpus} GPU{'s' if gpus > 1 else ''} a step compares {one.joint:,} pairs and a query meets "
        f"{one.negatives:,} negatives; the oldest of {K:,} keys is {one.key_age:.2f} steps old, an epoch has "
        f"{one.steps:,} steps, and a GPU receives {one.embedding_bytes / 1e6:.1f} MB of embeddings and keys and "
        f"{one.gradient_bytes / 1e6:.0f} MB of gradients."
    )  # fmt: skip


def _time(seconds: float) -> str:
    if seconds < 1:
        return f"{1e3 * seconds:.3g} ms"
    return f"{seconds:,.0f} s" if seconds >= 100 else f"{seconds:.2f} s"
