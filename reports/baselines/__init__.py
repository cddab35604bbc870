"""Do matched baselines agree? Tables and words."""
