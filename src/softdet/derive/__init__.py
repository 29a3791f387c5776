"""Settings from facts: what `auto` becomes, and why."""
