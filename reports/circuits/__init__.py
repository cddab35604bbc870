"""The report's section on circuits."""
