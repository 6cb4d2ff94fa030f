"""What runs show: a table, JSON, an HTML page with plots."""
