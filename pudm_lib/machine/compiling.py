"""torch.compile, which joins the small operations of a network into few kernels.

Its first call takes tens of seconds, so it is for training and for sampling. What it
made serves all networks of one make and image size in the process.
"""

import logging
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, fx, nn

from pudm_lib.machine.paths import one_line

log = logging.getLogger(__name__)

COMPILE = ("auto", "on", "off")

# Graphs of one kind of network: a few for each size of network and image. Beyond them
# networks run as they are, and torch's own limit is 8.
MOST_GRAPHS = 64


def compiled(network: nn.Module, choice: str, device: str | torch.device) -> nn.Module:
    """What to call in place of `network`, whose weights it shares.

    Args:
        choice: "on", "off", or "auto": on a GPU. On a CPU the networks of this book
            gain nothing by it.
    """
    on_gpu = torch.device(device).type == "cuda"
    if choice == "off" or (choice == "auto" and not on_gpu):
        return network
    return Compiled(network)


class Compiled(nn.Module):
    """Called as the network is, network(x_t, t) or network(x_t, t, c)."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        torch._dynamo.config.recompile_limit = MOST_GRAPHS
        # diffusers asks for torch's version in a function that remembers its answer.
        words = "Dynamo detected a call to a `functools.lru_cache`"
        warnings.filterwarnings("ignore", words)
        self._call = torch.compile(network, backend=_inductor_or_none)

    @property
    def config(self):
        return self.network.config

    def forward(self, x_t: Tensor, t: Tensor, *c: Tensor):
        # One graph for each size of image. In sampling it is for batches of any size,
        # in training for the one there is.
        torch._dynamo.mark_static(x_t, list(range(1, x_t.ndim)))
        for x in (x_t, t, *c):
            if torch.is_grad_enabled():
                torch._dynamo.mark_static(x, 0)
            else:
                torch._dynamo.maybe_mark_dynamic(x, 0)
        return self._call(x_t, t, *c)


def _inductor_or_none(graph: fx.GraphModule, inputs: Sequence[Tensor]) -> Callable:
    """The compiled graph; the graph itself where there is no compiler that works."""
    try:
        # Now and not at the first backward pass, whose errors nobody would catch.
        with torch._functorch.config.patch(force_non_lazy_backward_lowering=True):
            return torch._dynamo.lookup_backend("inductor")(graph, inputs)
    except Exception as error:  # of whichever compiler
        log.warning("not compiled, which is slower: %s", one_line(error))
        return graph.forward
