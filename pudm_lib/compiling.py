"""torch.compile, which joins the small operations of a network into few kernels and, on
a GPU, lays convolutions out as it likes them (channels_last).

The first call of a kind (in training, in sampling, another batch) takes it tens of
seconds; what it made serves all networks of the same make in the process.
"""

import logging
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, fx, nn

from pudm_lib.messages import one_line

log = logging.getLogger(__name__)

COMPILE = ("auto", "on", "off")


def compile_network(network: nn.Module, choice: str, device: str | torch.device):
    """Have `network` compiled, in place, when it is first called.

    Args:
        choice: "on", "off", or "auto": on a GPU. On a CPU the networks of this book
            gain nothing by it.
    """
    on_gpu = torch.device(device).type == "cuda"
    if choice == "off" or (choice == "auto" and not on_gpu):
        return
    # diffusers asks for torch's version in a function that remembers its answer.
    warnings.filterwarnings("ignore", "Dynamo detected a call to a `functools.lru_cach")
    network.compile(backend=_inductor_or_none)


def _inductor_or_none(graph: fx.GraphModule, inputs: Sequence[Tensor]) -> Callable:
    """The compiled graph; the graph itself where there is no compiler that works."""
    try:
        return torch._dynamo.lookup_backend("inductor")(graph, inputs)
    except Exception as error:  # of whichever compiler
        log.warning("not compiled, which is slower: %s", one_line(error))
        return graph.forward
