"""Device files to and from aihwkit, NeuroSim and CrossSim; what does not fit is listed."""
