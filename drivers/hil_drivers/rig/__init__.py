"""The rig: several instruments behind the one interface of every array."""
