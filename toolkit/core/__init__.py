"""What every package uses: errors, files, locks, progress, the machine, parallel work, text."""
