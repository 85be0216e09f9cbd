"""What only decides: pure functions between what is known and what is done, their cases in tests/cases."""
