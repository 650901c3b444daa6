"""Studies: many ordinary runs over swept fields, local or on a cluster, resumed where they stop."""
