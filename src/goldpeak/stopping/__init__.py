"""When to stop: budgets before a run, decisions during it, and where the next compute goes."""
