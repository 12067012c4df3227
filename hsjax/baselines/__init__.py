"""What a trained model has to beat: SVM, nearest text, majority."""
