"""Where models come from: built-in names, folders, the hub; tiny random ones and planted ones."""
