"""Accelerators made from a description: the language, mappings, the generated model and its cycle-by-cycle oracle."""
