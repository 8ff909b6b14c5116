"""Runs: whose turn it is on the fleet, and what each run did."""
