"""Cross-attention: the vectorised form against the usual loop, and searching by embeddings against the vectorised form.

Only some captions are timed, and the time is scaled up: both forms loop over captions, so that it is proportional to
their number. The vectorised form is timed on more captions, because it first normalises the regions, which a whole
matrix needs only once.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from userlab.bench.case import Case, Goal
from userlab.bench.reference import i2t_loop, t2i_loop
from userlib.model.scorers import scan_i2t, scan_t2i
from userlib.search import top_k

REGIONS, LONGEST = 36, 20


def sets_of_vectors(
    num_images: int, captions: int, width: int, *, device: str = "cpu"
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """regions (N, 36, E), words (M, 20, E), mask (M, 20) and lengths (M,), which cycle through 6 to 20, so that any 15
    consecutive captions have 13 words on average.
    """
    draw = torch.Generator().manual_seed(0)
    regions = nn.functional.normalize(torch.randn(num_images, REGIONS, width, generator=draw), dim=2)
    lengths = 6 + torch.arange(captions) % (LONGEST - 5)
    words = nn.functional.normalize(torch.randn(captions, LONGEST, width, generator=draw), dim=2)
    mask = torch.arange(LONGEST) < lengths.unsqueeze(1)
    return regions.to(device), (words * mask.unsqueeze(-1)).to(device), mask.to(device), lengths.to(device)


def cases(*, tiny: bool, device: str) -> Iterator[Case]:
    """Both directions against the loop, then embeddings against t2i, all for 1,000 images and 5,000 captions."""
    width = 16 if tiny else 1024
    for name, ours, loop in (("t2i", scan_t2i, t2i_loop), ("i2t", scan_i2t, i2t_loop)):
        yield _against_the_loop(name, ours, loop, width, tiny, device)
    num_images, captions = (10, 50) if tiny else (1000, 5000)
    timed = 10 if tiny else 450  # captions
    regions, words, mask, _ = sets_of_vectors(num_images, timed, width, device=device)
    draw = torch.Generator().manual_seed(1)
    images, texts = (
        nn.functional.normalize(torch.randn(count, width, generator=draw), dim=1).numpy()
        for count in (num_images, captions)
    )
    yield Case(
        group="crossattention",
        name="search by embeddings",
        shapes=f"{num_images:,} x {captions:,}, E {width}",
        ours=lambda: top_k(texts, images, 10),
        reference=lambda: scan_t2i(regions, words, mask),
        reference_is=f"vectorised t2i, timed on {timed} captions",
        reference_scale=captions / timed,
        flops=2.0 * num_images * captions * width,
        goals=(Goal("reference", 1 / 60),),
    )


def _against_the_loop(
    name: str,
    ours: Callable[[Tensor, Tensor, Tensor], Tensor],
    loop: Callable[[Tensor, Tensor, Tensor], Tensor],
    width: int,
    tiny: bool,
    device: str,
) -> Case:
    num_images, captions, few, timed = (6, 12, 12, 12) if tiny else (1000, 5000, 450, 15)
    regions, words, mask, lengths = sets_of_vectors(num_images, few, width, device=device)

    def differs() -> float:
        part = slice(0, timed)
        return float(
            (ours(regions, words, mask)[:, part] - loop(regions, words[part], lengths[part])).abs().max()
        )

    seen = int(mask.sum())
    return Case(
        group="crossattention",
        name=f"scores, {name}",
        shapes=f"{num_images:,} x {captions:,}, {REGIONS} regions, 6 to {LONGEST} words, E {width}; "
        f"{few} captions timed",
        ours=lambda: ours(regions, words, mask),
        reference=lambda: loop(regions, words[:timed], lengths[:timed]),
        reference_is=f"a caption at a time, timed on {timed}",
        reference_scale=captions / timed,
        flops=2.0 * num_images * REGIONS * seen * width * captions / few,
        scale=captions / few,
        goals=(Goal("reference", 1 / 10),),
        differs=differs,
    )
