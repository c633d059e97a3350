"""Lasso search for spaces of arrays: states from which something that ought to follow need never follow.

A process may idle for ever, but it must not put off for ever what can be done all the time under one fair name. So
a strongly connected component is a lasso if each fair name that is enabled in all of its states is taken in it.

    >>> import numpy as np
    >>> there_and_back = Region(2, np.array([0, 1]), np.array([1, 0]), np.array([0, 1]), {1: np.array([False, True])})
    >>> [int(one) for one in there_and_back.lasting()]
    [0, 1]

Source: spec, section 7, L1 to L3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


@attrs.frozen
class Region:
    """States that have not yet come to what ought to follow, with the numbers from 0, and the steps among them.

    Args:
        states: how many there are.
        source, target: where each step begins and ends.
        fair: the number of its fair name; 0 is none.
        enabled: by the number of a fair name: in which states it can be done, whether or not it leads out.
    """

    states: int
    source: NDArray[Any]
    target: NDArray[Any]
    fair: NDArray[Any]
    enabled: Mapping[int, NDArray[np.bool_]]

    def lasting(self) -> NDArray[np.int64]:
        """Return the states in components in which nothing fair is put off though they are never left."""
        if not self.states:
            return np.zeros(0, np.int64)
        shape = self.states, self.states
        graph = coo_array((np.ones(len(self.source), np.int8), (self.source, self.target)), shape=shape)
        count, label = connected_components(graph.tocsr(), directed=True, connection="strong")
        size = np.bincount(label, minlength=count)
        inside = label[self.source] == label[self.target]
        lasts = np.ones(count, bool)
        for fair, able in self.enabled.items():
            always = np.bincount(label[able], minlength=count) == size
            taken = np.zeros(count, bool)
            taken[label[self.source[inside & (self.fair == fair)]]] = True
            lasts &= ~always | taken
        return np.nonzero(lasts[label])[0]
