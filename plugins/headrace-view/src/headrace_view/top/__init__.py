"""`headrace top`: a run that goes on, in a terminal."""
