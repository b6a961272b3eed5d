"""Where the tensors of a recorded layer lie on one rank: storages with the rank's share of the bytes, local shapes."""

from __future__ import annotations

from dataclasses import replace

from hardplace.workload.affine import Affine
from hardplace.workload.sharding.rank_sizes import RankSizes, States
from hardplace.workload.sharding.splits import State
from hardplace.workload.sharding.steps import Analysis
from hardplace.workload.types import Storage, StorageRole, Tensor


class RankTensors:
    """The storages and tensors of one rank's layer, each made at its first use.

    `recorded` numbers are those of the old layer, all others of the rank's.

    Attributes:
        storages: Storages of the rank, with its share of the bytes.
        tensors: Tensors of the rank, with local shapes.
        home: Storage here of each recorded one.
        number_of: Tensor here of each recorded one in its states.
    """

    def __init__(self, sizes: RankSizes, analyses: tuple[Analysis, ...]) -> None:
        self.sizes, self.old, self.analyses = sizes, sizes.layer, analyses
        self.storages: list[Storage] = []
        self.tensors: list[Tensor] = []
        self.states: list[dict[int, State]] = [{} for _ in analyses]  # of recorded tensors, as they are now
        self.home: dict[int, int] = {}  # recorded storage -> storage here
        self.number_of: dict[tuple[int, States], int] = {}  # recorded tensor in these states -> tensor here
        self._known: dict[Tensor, int] = {}

    def now(self, index: int) -> States:
        """Return the states of a recorded tensor."""
        return tuple([states.get(index) for states in self.states])

    def new_storage(self, role: StorageRole, size: Affine, parameters: int = 0) -> int:
        """Return the number of a storage that is added.

        Args:
            role: Its role.
            size: Its bytes on the rank.
            parameters: Parameters that it holds.
        """
        self.storages.append(Storage(role=role, bytes=size, parameters=parameters))
        return len(self.storages) - 1

    def added(self, tensor: Tensor) -> int:
        """Return the number of a tensor that no recorded one is."""
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def unwritten(self, index: int) -> bool:
        """Return whether a view is of memory that is only allocated: what is written there says its share."""
        storage = self.old.tensors[index].storage
        return storage not in self.home and self.old.storages[storage].role is StorageRole.ACTIVATION

    def tensor(self, index: int, states: States, storage: int | None = None) -> int:
        """Return the number here of a recorded tensor.

        Args:
            index: The recorded tensor.
            states: Its states in the process groups.
            storage: Storage here, where it lies in a copy. None: that of the recorded one.
        """
        found = self.number_of.get((index, states))
        if found is not None and storage is None:
            return found
        home = self._home(index, states) if storage is None else storage
        made = Tensor(storage=home, shape=self.sizes.shape(index, states), dtype=self.old.tensors[index].dtype)
        number = self._known.setdefault(made, len(self.tensors))
        if number == len(self.tensors):
            self.tensors.append(made)
        self.number_of[index, states] = number
        return number

    def replace(self, recorded: int, new: int) -> None:
        """Let a recorded storage lie elsewhere from now on, in the role that it had."""
        role = self.storages[self.home[recorded]].role
        if role in (StorageRole.GRADIENT, StorageRole.ACTIVATION):
            self.storages[new] = replace(self.storages[new], role=role)
        self.home[recorded] = new

    def _home(self, index: int, states: States) -> int:
        """Return the storage of a tensor here, made at its first use with the rank's share of the bytes."""
        old = self.old.tensors[index].storage
        if old not in self.home:
            whole = self.old.storages[old]
            if whole.role is StorageRole.PARAMETER:
                states = tuple(one.parameters[old] for one in self.analyses)
                index = next(number for number, one in enumerate(self.old.tensors) if one.storage == old)
            mine = self.sizes.share(old, index, states)
            self.home[old] = self.new_storage(whole.role, mine.bytes, mine.parameters)
        return self.home[old]
