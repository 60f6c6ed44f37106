"""What outlives the log. The interfaces are modules of this room; `sqlite` holds their makes for one node."""
