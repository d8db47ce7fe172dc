"""Who gets which run when."""
