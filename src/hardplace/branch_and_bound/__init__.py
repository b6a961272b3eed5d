"""Best-first branch and bound: the loop, its front, and where its refinements are done; it knows no chip."""
