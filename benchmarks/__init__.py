"""What `make bench` measures. Figures, not tests: machines differ and are shared."""
