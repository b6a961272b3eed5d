"""Fits the fp32 kernel models, and judges what was learned; nothing else in the package needs it."""
