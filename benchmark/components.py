"""The words of a request: kinds of component, directions, replacements, and which go together. Imports nothing."""
