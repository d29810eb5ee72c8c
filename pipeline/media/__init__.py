"""Reading recorded media: containers, their tracks and caption files, each as events in order of time."""
