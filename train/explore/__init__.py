"""What labelled data are like before anything is trained on them: one page, and the same figures as JSON."""
