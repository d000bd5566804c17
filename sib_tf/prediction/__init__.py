"""From a trained or exported model and folders of pictures to answers."""
