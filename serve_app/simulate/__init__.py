"""`tokenfleet simulate`: files in, `cluster.simulation`, and a table, JSON and a page out."""
