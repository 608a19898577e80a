"""Training: the VAE, the base model and the memory, from a YAML file, through the pipeline's own conditioning code.

`config` says what can be set, `objective` is the method's loss, `plan` decides what every batch consists of, `clips`,
`encode` and `store` bring the data, `loop` is the one loop, `vae` and `denoise` are the stages, `run.train` is the
entry. `footage` turns real videos into training data.
"""
