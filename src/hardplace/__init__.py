"""Which accelerator, and which placement of a model on many of them, trains fastest within a budget."""

from hardplace.version import __version__

__all__ = ["__version__"]
