"""Pictures for people, drawn from arrays and run folders; knows no model."""
