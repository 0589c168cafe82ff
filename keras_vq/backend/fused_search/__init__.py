"""Nearest-code search in one fused GPU kernel, which writes no scores to GPU memory."""
