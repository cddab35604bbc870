"""What one pair of prompts showed, as a page, pictures and tables."""
