"""The verbs as lists of phases, and the engine that walks them."""
