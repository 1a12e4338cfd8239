"""One script per page; each reads like the page it shows."""
