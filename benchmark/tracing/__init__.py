"""One pair of prompts, or one prompt, looked into: what matters where."""
