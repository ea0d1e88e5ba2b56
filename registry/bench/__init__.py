"""What saved multiply-adds save on the clock, against every dense engine there is.

`bench.py` puts it together; docs/benchmarking.md has the protocol, and what each figure means.
"""
