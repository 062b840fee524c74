"""Flows of this library side by side with what they are to be measured against, as tables."""
