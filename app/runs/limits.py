"""What visitors may ask for: which models, how many tokens, how large a tree, how long a queue.

The operator sets it on the command line. A model's name can be a path or a hub id, so that a page
which others reach takes only the catalogue's, unless told otherwise. It can be the address of a server
as well, which the page then asks in its visitors' stead: of these it takes those of this machine, and
where others reach the page none, unless told otherwise.
"""

from dataclasses import dataclass

from core.config import RunConfig
from core.errors import InvalidSettingError, shown
from core.models.catalogue import CATALOGUE
from core.modes.hybrid import HybridSettings, parts_of
from core.modes.server import ServerAddress, is_address, parse_address
from core.modes.settings import MAX_TREE_NODES, SELF, SHIPPED_BLOCK, SHIPPED_HEAD

# Of --allow-servers: those of this machine.
OWN = "own"
# What the command line starts with; the default model's context holds no more.
MOST_TOKENS = 8192
MOST_WAITING = 64
MOST_WAITING_EACH = 8
_WITHOUT_LIMIT = 10**9


@dataclass(frozen=True)
class Limits:
    """Limits of every visitor's runs; those of the settings classes hold besides."""

    models: frozenset[str] | None = None
    """Targets and draft models that may be named; None allows every name."""
    servers: frozenset[str] | None = None
    """host:port of servers that may be targets, and OWN for all of this machine; None allows every
    one."""
    most_tokens: int = _WITHOUT_LIMIT
    most_nodes: int = MAX_TREE_NODES
    most_waiting: int = _WITHOUT_LIMIT
    """Runs and loads in the queue, of all visitors together."""
    most_waiting_each: int = _WITHOUT_LIMIT
    """Those of one visitor."""

    def check(self, config: RunConfig, num_waiting: int, num_own: int = 0) -> None:
        """Raises InvalidSettingError for a run that goes beyond a limit; see `check_queue`."""
        self.check_model(config.target)
        # What is shipped, and the target itself, are never a way out.
        for name in _named_drafts(config):
            if name not in (None, SHIPPED_HEAD, SHIPPED_BLOCK, SELF):
                self.check_model(name)
        if config.max_new_tokens > self.most_tokens:
            raise InvalidSettingError(
                f"max_new_tokens is {config.max_new_tokens}; this page gives at most "
                f"{self.most_tokens}."
            )
        num_nodes = getattr(config.drafter, "num_nodes", 0)
        if num_nodes > self.most_nodes:
            raise InvalidSettingError(
                f"num_nodes is {num_nodes}; this page drafts at most {self.most_nodes} tokens a step."
            )
        self.check_queue(num_waiting, num_own)

    def check_queue(self, num_waiting: int, num_own: int = 0) -> None:
        """Raises InvalidSettingError where no more runs and loads may wait.

        `num_own` of those in the queue are the visitor's.
        """
        if num_own >= self.most_waiting_each:
            raise InvalidSettingError(
                f"{num_own} runs of yours wait already, which is all that this page queues for one "
                "visitor; wait for one to end, or stop it."
            )
        if num_waiting >= self.most_waiting:
            raise InvalidSettingError(
                f"{num_waiting} runs wait already, which is all that this page queues; ask again "
                "later."
            )

    def has(self, name: str) -> bool:
        """Whether visitors may name a model."""
        return self.models is None or name in self.models

    def check_model(self, name: str) -> None:
        """Raises InvalidSettingError for a model or server that visitors may not name."""
        if is_address(name):
            self._check_server(parse_address(name))
            return
        if not self.has(name):
            allowed = ", ".join(sorted(self.models or ()))
            raise InvalidSettingError(
                f"model {shown(name)} is not offered here; choose one of {allowed}."
            )

    def _check_server(self, address: ServerAddress) -> None:
        if self.servers is None or address.place in self.servers:
            return
        if not (address.is_this_machine and OWN in self.servers):
            raise InvalidSettingError(
                f"the server at {shown(address.place)} is not offered here; whoever runs this page "
                "allows it by --allow-servers."
            )


def allowed_servers(word: str | None, target: str, *, is_private: bool) -> frozenset[str] | None:
    """What --allow-servers means; without it, whether only this machine reaches the page decides.

    `all`, `own`, `none`, or host:port with commas, `own` among them; the starting target is always
    allowed. Raises InvalidSettingError for anything else.
    """
    word = word or (OWN if is_private else "none")
    if word == "all":
        return None
    names = {name.strip() for name in word.split(",")} - {"", "none"}
    for name in names - {OWN}:
        if not name.rpartition(":")[2].isdecimal() or "/" in name:
            raise InvalidSettingError(
                f"--allow-servers has {shown(name)}; give all, own, none, or host:port with commas."
            )
    if is_address(target):
        names.add(parse_address(target).place)
    return frozenset(names)


def allowed_models(word: str | None, target: str, *, is_private: bool) -> frozenset[str] | None:
    """What --allow-models means; without it, whether only this machine reaches the page decides.

    `all`, `catalogue`, or names with commas; the starting target is always allowed.
    """
    word = word or ("all" if is_private else "catalogue")
    if word == "all":
        return None
    names = CATALOGUE if word == "catalogue" else (name.strip() for name in word.split(","))
    return frozenset({target, *filter(None, names)})


def _named_drafts(config: RunConfig) -> list[str | None]:
    """The draft models that a run names; a hybrid may have several."""
    if config.draft is None or not isinstance(config.drafter, HybridSettings):
        return [config.draft]
    return [part.draft for part in parts_of(config.draft)]
