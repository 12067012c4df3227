"""What a trained model has to beat: a linear SVM, the nearest products."""
