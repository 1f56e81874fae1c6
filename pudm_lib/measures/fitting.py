"""The one loop that fits a classifier: the judge, and the networks of `detection`."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from tqdm.auto import tqdm

from pudm_lib.machine.paths import headless


def fit(
    network: nn.Module,
    draw: Callable[[int], tuple[Tensor, Tensor]],
    loss: Callable[[Tensor, Tensor], Tensor],
    optimizer: Optimizer,
    steps: int,
    *,
    name: str,
    schedule: LRScheduler | None = None,
) -> None:
    """Lower `loss(network(x), y)` on the batch (x, y) that `draw` gives for each step,
    augmented and on the network's device; `name` is shown beside the bar."""
    network.train()
    for step in tqdm(range(steps), f"train {name}", disable=headless()):
        x, y = draw(step)
        optimizer.zero_grad()
        loss(network(x), y).backward()
        optimizer.step()
        if schedule is not None:
            schedule.step()
