"""What harpd asks of the kernel's network stack, as prebuilt messages over one socket."""
