"""From a dataset to token pairs: rows as text, what a tokenizer makes of them, and the metric that is read."""
