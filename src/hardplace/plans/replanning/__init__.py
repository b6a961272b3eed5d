"""Plans for what is left of a cluster, with what moving to them costs."""
