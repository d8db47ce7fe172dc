"""Pages, routes and the gate before them."""
