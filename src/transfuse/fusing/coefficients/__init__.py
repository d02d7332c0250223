"""Ways of searching the coefficients of a fusion of weights by labelled examples, one file each."""
