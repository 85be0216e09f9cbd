"""Events and plans as text for people and programs; decides nothing."""
