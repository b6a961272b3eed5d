"""What each axis of a recorded decoder's tensors is: a polynomial in its sizes, found by structure, not by value."""

from hardplace.workload.reshaping.find_labels import labels_of

__all__ = ["labels_of"]
