"""What other programs' words mean: a headline, the causes in the order of their likelihood, and what to type."""
