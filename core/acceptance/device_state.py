"""What a run keeps on the device between steps: the tokens, and how many are committed."""

import torch


class DeviceState:
    """Static buffers, so that captured graphs find them at the same place in every step."""

    def __init__(self, capacity: int, device: torch.device):
        def number() -> torch.Tensor:
            return torch.zeros(1, dtype=torch.int64, device=device)

        self.tokens = torch.zeros(capacity, dtype=torch.int64, device=device)
        """Prompt and output; the root of the next tree stands at `length`."""
        self.length = number()
        """Tokens in the target's cache."""
        self.num_seen = number()
        """Tokens in the cache of a drafter that has one of its own."""

    def set(self, token_ids: list[int], num_seen: int) -> None:
        """Starts a run: all tokens but the last are in the target's cache."""
        given = torch.tensor(token_ids, dtype=torch.int64)
        self.tokens[: len(token_ids)].copy_(given)
        self.length.fill_(len(token_ids) - 1)
        self.num_seen.fill_(num_seen)
