"""What the one who runs the platform does with all of its data: back it up, restore, export, delete, clean up."""
