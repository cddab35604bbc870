"""What lies in a results folder: cells and runs, written whole or not at all."""
