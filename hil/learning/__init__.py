"""Learning rules: pure arithmetic from activities and errors to pulses."""
