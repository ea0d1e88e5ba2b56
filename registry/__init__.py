"""What can be plugged in: recognizers, methods and data sets. Torch and MMAction2 live here."""
