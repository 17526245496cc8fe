"""`lrps doctor`: what this machine has, and whether it is fit for a plan."""
