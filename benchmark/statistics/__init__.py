"""Numbers from arrays: agreement, its uncertainty, nulls, samples. Knows neither torch nor a results folder."""
