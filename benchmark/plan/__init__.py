"""What is to be done, as values: what there is to choose from, and the fits it takes. Pure."""
