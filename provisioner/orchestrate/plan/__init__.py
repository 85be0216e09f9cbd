"""From an inventory to a plan that a person has agreed to."""
