"""Power loss: record what a real process writes and syncs, and judge every disk it may leave."""
