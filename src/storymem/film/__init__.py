"""Making films: the durable folder, the plan, the director, and the finished cut."""
