"""WHEN: the verbs as lists of phases, gates that prove each, and the engine that walks them."""
