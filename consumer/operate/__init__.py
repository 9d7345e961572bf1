"""What an operator sees of a worker: its status and health, its metrics, and the page that serves both."""
