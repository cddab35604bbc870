"""Tables, figures and a Markdown report from a results folder. Nothing here touches a model."""
