"""Records in; tables, frontiers, figures and reports out. Knows nothing of torch."""
