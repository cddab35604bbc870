"""Interactions of components, and what a component does while others are out: the `interactions` command."""
