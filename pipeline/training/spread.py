"""One training run in several processes, as torchrun starts them, and the device that each computes on.

Every process draws the same sessions, cuts its own share of each batch and computes the gradients of that; `Spread` has all that passes
between them (gloo between CPUs, nccl between GPUs). One process is the same run with nothing to pass.

Gradients are summed here, once a step and all in one tensor. DistributedDataParallel would not do: its hooks hang on one `forward`, where
training calls `encode` for packets and `fuse` for windows, several times a step; it averages the means of the shares, which is not the
mean of the batch where shares hold unlike numbers of labels (`share`); and it waits for the gradient of every parameter, where the scale
of SyncLoss has none in a share in which nothing belongs together. Batches are normalised by their own share, as DDP does too; what
BatchNorm keeps for later is averaged after each epoch, so that it comes from all sessions and is the same everywhere.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from operators.errors import BackendError, BackendUnavailable, ConfigError
from pipeline.yamltext import KeyPath

Device = Literal["auto", "cpu", "cuda"]
Fail = Callable[[KeyPath, str, str], ConfigError]
CPU = torch.device("cpu")
TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Variables of a process that torchrun started."""
PATIENCE = timedelta(hours=3)
"""The others wait while the first process prepares data or validates. One that dies is noticed at once, by torchrun."""
_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """This process among those of the run. Every method is called by all of them, in the same order."""

    rank: int = 0
    processes: int = 1
    device: torch.device = CPU

    @property
    def first(self) -> bool:
        """It alone tells, validates and writes."""
        return self.rank == 0

    def takes(self, number: int) -> bool:
        """Whether the session of this number is in this process's share; a batch is a multiple of the number of processes."""
        return number % self.processes == self.rank

    def after_first(self, make: Callable[[], _Made]) -> _Made:
        """make() in the first process, and then in the others, which find what it put into a cache."""
        made = make() if self.first else None
        self.agreed(True)
        return make() if made is None else made

    def agreed(self, answer: bool) -> bool:
        """What the first process answers."""
        if self.processes == 1:
            return answer
        told = torch.tensor([float(answer)], device=self.device)
        _from_first(told)
        return bool(told.item())

    def alike(self, network: nn.Module) -> None:
        """Gives every process the weights of the first."""
        if self.processes > 1:
            for tensor in [*network.parameters(), *network.buffers()]:
                _from_first(tensor)

    def settle(self, network: nn.Module) -> None:
        """Averages what BatchNorm has counted; other buffers become those of the first process."""
        if self.processes == 1:
            return
        for module in network.modules():
            if isinstance(module, _BatchNorm) and module.running_mean is not None and module.running_var is not None:
                for counted in (module.running_mean, module.running_var):
                    _summed(counted)
                    counted /= self.processes
        for buffer in network.buffers():
            _from_first(buffer)

    def share(self, counts: Tensor) -> Tensor:
        """counts: float (n,), of what a mean is over -> how much of it is this process's, in [0, 1]; 0 where nobody has any."""
        if self.processes == 1:
            return torch.ones_like(counts)
        every = _summed(counts.detach().clone())
        return counts / torch.where(every > 0, every, 1.0)

    def sum_gradients(self, parameters: Sequence[nn.Parameter], losses: Tensor) -> Tensor:
        """Sums the gradients in place, and gives the sum of the losses (n,). Who has no gradient anywhere keeps none."""
        if self.processes == 1:
            return losses
        there = losses.new_tensor([parameter.grad is not None for parameter in parameters])
        grads = [torch.zeros_like(parameter) if parameter.grad is None else parameter.grad for parameter in parameters]
        flat = torch.cat([losses, there, *(grad.flatten() for grad in grads)])
        _summed(flat)
        losses, there = flat[: len(losses)], flat[len(losses) : len(losses) + len(there)]
        first = len(losses) + len(there)
        for parameter, grad, somewhere in zip(parameters, grads, there.tolist(), strict=True):
            whole = flat[first : first + grad.numel()].view_as(grad)
            parameter.grad = grad.copy_(whole) if somewhere else None  # copied, so that the layout in memory stays
            first += grad.numel()
        return losses


def _summed(tensor: Tensor) -> Tensor:
    """In place, over all processes."""
    with _others():
        dist.all_reduce(tensor)
    return tensor


def _from_first(tensor: Tensor) -> None:
    whole = tensor.detach().contiguous()
    with _others():
        dist.broadcast(whole, 0)
    tensor.detach().copy_(whole)


@contextmanager
def _others() -> Iterator[None]:
    """gloo and nccl raise a bare RuntimeError when another process is gone."""
    try:
        yield
    except RuntimeError as error:
        said = str(error).splitlines()[0].split(". ")[0]
        raise BackendError(f"another process of this training has ended, and its own line says why ({said})") from None


def rank() -> int:
    """Which process of the run this is; 0 outside torchrun."""
    return _place()[0]


def _place() -> tuple[int, int, int]:
    """(rank, rank on this machine, number of processes)."""
    if not all(name in os.environ for name in TORCHRUN):
        return 0, 0, 1
    return int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"]), int(os.environ["WORLD_SIZE"])


@contextmanager
def spread_out(device: Device, batch: int, fail: Fail) -> Iterator[Spread]:
    """The processes of this run, found and let go of again.

    Raises ConfigError (by `fail`) for a batch that they cannot share and for a device that is not there, BackendUnavailable where they do
    not find one another, BackendError where one of them ends before its time.
    """
    rank, local, processes = _place()
    if batch % processes:
        hint = "make it a multiple of the number of processes"
        raise fail(("loop", "batch"), f"is {batch}, which {processes} processes cannot share evenly", hint)
    chosen = device_of(device, local, fail)
    if processes == 1:
        yield Spread(device=chosen)
        return
    _join(chosen, processes)
    try:
        yield Spread(rank=rank, processes=processes, device=chosen)
    finally:
        dist.destroy_process_group()


def device_of(device: Device, local: int, fail: Fail) -> torch.device:
    """local: number of the process on this machine; each has a GPU of its own."""
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return CPU
    if not torch.cuda.is_available():
        raise fail(("loop", "device"), "is cuda, and torch finds no CUDA device here", "write auto or cpu, or install a torch with CUDA")
    if local >= torch.cuda.device_count():
        there = torch.cuda.device_count()
        problem = f"gives each process a GPU of its own, and process {local + 1} of this machine has none of the {there}"
        raise fail(("loop", "device"), problem, "start as many processes as there are GPUs")
    return torch.device("cuda", local)


def _join(device: torch.device, processes: int) -> None:
    if not dist.is_available():
        raise BackendUnavailable("training in several processes needs a torch with torch.distributed")
    # Its functions have the group of the moment of import as a default, which torch's optimisers would make this one: never let go of,
    # its threads would outlive the interpreter, and sometimes abort the process.
    importlib.import_module("torch.distributed.nn")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        said = str(error).splitlines()[0]
        raise BackendUnavailable(f"the {processes} processes of this training do not find one another at {where}: {said}") from None
