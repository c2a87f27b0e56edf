"""The optimizers of torch, without the compiler that they would load."""

import inspect
from typing import TypeVar, cast

import torch
from torch.optim import Optimizer

__all__ = ["eager"]

_Kind = TypeVar("_Kind", bound=Optimizer)

_WRAPPED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


def eager(kind: type[_Kind]) -> type[_Kind]:
    """Return an optimizer of torch that does the same and starts sooner.

    torch wraps some methods so that `torch.compile` leaves them alone; the first call of one of
    them loads all of `torch._dynamo`, 1.5 s of CPU time.  Here they are what is below the wrapping.

    Args:
        kind: for example `torch.optim.AdamW`; not for use with `differentiable`, nor in what
            `torch.compile` compiles.
    """
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in _WRAPPED}
    methods["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    return cast(type[_Kind], type(kind.__name__, (kind,), methods))
