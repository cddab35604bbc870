"""The page of interactions: tables, and a matrix of each task."""
