"""Nearest codes in one kernel of a GPU: no scores are written to its memory."""
