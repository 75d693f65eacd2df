"""Training in several processes: each has its share of a step's rows, the adapter's gradients are averaged over all.

Where accelerate's configuration asks for FSDP (Zhao et al. 2023, arXiv 2304.11277), the frozen base is sharded with
torch's `fully_shard` (FSDP2), layer by layer, and the adapter, a hundredth of it, stays whole in every process under
DistributedDataParallel. So checkpoints have the same files on one GPU or many, and a run may go on with another number
of them. Accelerate's own wrapping, which shards the adapter too, is therefore turned off.
"""

from __future__ import annotations

import os
from typing import Any

from jobs.config import Train
from jobs.errors import UserError
from jobs.team import Team

ASKED = "ACCELERATE_USE_FSDP"  # what `accelerate launch` makes of `distributed_type: FSDP`
RESHARD = "FSDP_RESHARD_AFTER_FORWARD"


def rows_of_one(settings: Train, world: int) -> int:
    """Rows of a micro-step in each process. Raises `UserError` where the batch cannot be shared out evenly."""
    if settings.batch_size % world:
        raise UserError(
            f"train.batch_size: {settings.batch_size} rows cannot be shared out evenly to {world} processes; "
            f"set a multiple of {world}"
        )
    return settings.batch_size // world


def take_over(settings: Train, world: int) -> bool:
    """Whether the base is to be sharded; accelerate is told not to do it. To be called before a model is loaded.

    Raises `UserError` for 4-bit weights: of a base of 3 billion parameters they are 2 GB, of which there is little to
    gain, and sharded ones are not tried on GPUs.
    """
    asked = os.environ.get(ASKED, "false").lower() == "true"
    os.environ |= {ASKED: "false", "ACCELERATE_MIXED_PRECISION": "no"}  # the latter is train.dtype's to decide
    if asked and world > 1 and settings.quantize != "none":
        raise UserError(
            f"train.quantize: {settings.quantize} weights are not sharded; launch with --multi_gpu in place of "
            "--config_file, which keeps them whole on every GPU, or set train.quantize=none"
        )
    return asked and world > 1


def shard(model: Any, team: Team) -> None:
    """Leave of a frozen model in each process its share, from which the layers are put together as they are needed."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model.requires_grad_(False)
    mesh = init_device_mesh(str(team.device).partition(":")[0], (team.world,))
    again = os.environ.get(RESHARD, "true").lower() == "true"
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh, reshard_after_forward=again)
    # Where the leader alone looks at the weights to save the adapter, its own are put away: all have to be by then.
    fully_shard(model, mesh=mesh, reshard_after_forward=True)


def average_adapter_alone(model: Any) -> None:
    """Let DistributedDataParallel look at what is trained, not at the base's shards."""
    from torch.nn.parallel import DistributedDataParallel

    frozen = [name for name, weight in model.named_parameters() if not weight.requires_grad]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, frozen)
