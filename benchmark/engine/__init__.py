"""The model adapter, patched and differentiated runs, and the contract of methods."""
