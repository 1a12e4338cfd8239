"""What each command does: asks, starts, prints. `cli` reads their arguments.

Commands that need torch import it themselves: the others answer at once.
"""
