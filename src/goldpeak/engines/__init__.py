"""Samplers of one posterior: each turns a `Design` into draws, in standardised units."""
