"""Pairs of pictures: where they come from, what is wrong with them, and how they reach training.

To be read in this order. `faults`, `pictures` and `opened`: what can be wrong, one file, one pair.
`listing`, `openmoji`, `folders`, `sidebyside` and `sources`: what a SOURCE text names. `reading`:
all pairs once. `facts`, `alike`, `check` and `describe`: what is seen of them; `survey` keeps it,
`summary` reads it back for people, `cleaning` leaves pictures out. `index` and `packing`: splits,
and one array of bytes. `batches`: what the training loop gets. `catalog` and `fetching`: published
data sets. Only `batches` and `fetching` know torch.
"""
