"""What happens when commands are killed, disks are full, state is damaged and input is odd, counted."""
