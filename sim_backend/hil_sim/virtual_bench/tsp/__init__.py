"""Test Script Processor: Lua with the command tables of Keithley instruments."""
