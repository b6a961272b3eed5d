"""Operator graphs on a handful of unlike devices, and embedding tables on many: docs/model-split.md has the
equations."""
