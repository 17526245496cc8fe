"""What `lrps doctor` finds out: this machine, and whether it is fit for a plan."""
