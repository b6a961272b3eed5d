"""Fits of GPU kernel models on measurements."""
