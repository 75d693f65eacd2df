"""Several processes that share one piece of work, as `accelerate launch` and `torchrun` start them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta

PATIENCE = timedelta(days=2)  # torch gives up after 30 minutes, less than one process may work on a large model


@dataclass(frozen=True)
class Team:
    """Which of how many processes this is; the one of rank 0 leads."""

    rank: int = 0
    world: int = 1
    device: str | None = None

    @classmethod
    def current(cls) -> Team:
        """The team that this process was started in. Alone, neither torch nor accelerate is loaded."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        import torch
        from accelerate import PartialState

        # Without a GPU accelerate has to be told, or each process believes that it is alone.
        state = PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)
        return cls(state.process_index, state.num_processes, str(state.device))

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def tell(self, word: str) -> str:
        """The leader's word, in every process."""
        if self.world == 1:
            return word
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([word])[0]

    def wait(self) -> None:
        """Until every process has come this far."""
        if self.world > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()
