"""Characterise an array: a suite of protocols, from gentle to destructive, each an ordinary run."""
