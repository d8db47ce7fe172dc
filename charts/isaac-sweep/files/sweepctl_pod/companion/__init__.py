"""What runs in the trainer's own process: it saves, resumes, and tells how far the training is.

Brought in by `pythonpath/sitecustomize.py`. It changes nothing that a trainer computes, writes or
logs in an undisturbed training, and may never break one: an error of its own is one line on stderr
(`speech.py`), and the training goes on. torch, numpy and wandb are the trainer's: none is imported
before the trainer has imported it.
"""
