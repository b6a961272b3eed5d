"""From a plan to what trainers take: their flags and configuration files, launchers, and back."""
