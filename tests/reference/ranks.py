"""Two processes of the model over gloo, as a program of its own: what each rank computes is written to a folder.

`python -m tests.reference.ranks FOLDER`, as tests/model/test_distributed.py calls it: what both need is imported once,
which takes seconds, and where there are forks they are two of this process.
"""

import os
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from tests.reference.small import make_batch, small
from userlib.config import ObjectiveConfig
from userlib.data.captions import Batch
from userlib.errors import UserError
from userlib.model.contrast import gather
from userlib.model.user import USER

IDS = [
    [0, 1, 2, 3, 1, 0],
    [4, 5, 0, 6, 7, 4],
    [8, 2, 9, 8, 10, 11],
]  # one picture on both ranks, and earlier ones
RATE = 0.05


def make_model() -> USER:
    torch.manual_seed(0)
    config = small(enhancement="sge", guide_dropout=0.0, momentum=0.5, queue_size=8)
    model = USER(config, ObjectiveConfig(mu=10.0, gamma=0.0, loss_weight=2.0))
    model.init_from_data(make_batch(config, [0, 1]).tokens)
    return model


def joined(step: int) -> Batch:
    return make_batch(small(), IDS[step], seed=step)


def share(batch: Batch, rank: int, ranks: int) -> Batch:
    """The rank's rows; the width of the words stays, as it is padded."""
    count = len(batch.image_ids) // ranks
    rows = slice(rank * count, (rank + 1) * count)
    return Batch(**{k: None if v is None else v[rows] for k, v in vars(batch).items()})


def train(model: USER, wrapped: torch.nn.Module, rank: int, ranks: int) -> dict:
    """Three steps of plain gradient descent -> losses, gradients of each step, and the queue."""
    losses, grads = [], []
    learning = {n: p for n, p in model.named_parameters() if p.requires_grad}
    for step in range(len(IDS)):
        output = wrapped(share(joined(step), rank, ranks))
        model.zero_grad()
        output.loss.backward()
        losses.append(output.loss.detach())
        grads.append({n: p.grad.clone() for n, p in learning.items()})
        with torch.no_grad():
            for p in learning.values():
                p -= RATE * p.grad
    queue = {name: value.clone() for name, value in model.queue.state_dict().items()}
    return {"losses": torch.stack(losses), "grads": grads, "queue": queue}


def work(rank: int, ranks: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meet",
        rank=rank,
        world_size=ranks,
        timeout=timedelta(seconds=600),
    )
    model = make_model()
    result = train(model, DistributedDataParallel(model, broadcast_buffers=False), rank, ranks)
    try:
        gather(torch.zeros(3 - rank, 2))  # 3 and 2 rows
        result["unequal"] = "went through"
    except UserError as error:
        result["unequal"] = str(error)
    rows = torch.full((2, 1), float(rank), requires_grad=True)
    result["gathered"] = gather(rows).detach().clone()
    (gather(rows).flatten() * torch.tensor([1.0, 2.0, 3.0, 4.0])).sum().backward()
    result["gradient"] = rows.grad.flatten()
    torch.save(result, Path(folder) / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    import torch._dynamo  # noqa: F401 - DistributedDataParallel would import it, in each

    how = "fork" if hasattr(os, "fork") else "spawn"
    torch.multiprocessing.start_processes(work, args=(2, sys.argv[1]), nprocs=2, start_method=how)
