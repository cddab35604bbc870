"""How far methods agree: tables and pictures."""
