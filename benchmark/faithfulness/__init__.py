"""Circuits: is what a method ranks first enough for the behaviour? Sets of components kept while all others are out."""

CIRCUIT_DRAWS = 20  # random orders of each sort
