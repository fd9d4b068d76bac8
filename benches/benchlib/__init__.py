"""Parts of `bench.py` and `soak.py`: build, work, measuring children, table and gates."""
