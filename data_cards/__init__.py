"""Jinja templates of the cards; `jobs.cards` renders them from a run's figures."""
