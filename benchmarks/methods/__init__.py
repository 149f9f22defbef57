"""Costs, plans and codes: how good they are."""
