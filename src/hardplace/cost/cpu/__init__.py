"""Operators of one inference on a CPU: a roofline whose figures are fitted on measured ones."""
