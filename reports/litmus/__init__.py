"""What methods find on planted models: section and picture."""
