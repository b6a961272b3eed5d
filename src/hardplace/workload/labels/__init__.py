"""What each axis of a recorded decoder's tensors is: a polynomial in its sizes, found by structure, not by value."""

from hardplace.workload.labels.find import labels_of

__all__ = ["labels_of"]
